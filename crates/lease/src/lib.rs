//! Who is the primary.
//!
//! Purpose: answer, for this node, whether it takes the writes or whom it follows. At present there is one way
//! to answer: [`StaticLease`], where the configuration names the primary once and for all.
//!
//! Invariants:
//!
//! * A node is primary only under an epoch greater than every epoch it had before.
//! * An address that leaves this crate is of the form `http://host:port`.
//!
//! What this crate must not know: databases, the store, the stream, and where the last epoch is kept. The
//! caller passes that epoch in and makes the new one durable before the first commit.

mod advertise;
mod error;
mod static_lease;

pub use advertise::AdvertiseUrl;
pub use error::Error;
pub use static_lease::{Standing, StaticLease};
