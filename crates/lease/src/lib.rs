//! Who is the primary.
//!
//! Purpose: a lease that one node holds at a time. A [`Leaser`] is a store of such a lease: [`StaticLease`], where the
//! configuration names the primary once and for all; `MemoryLease`, for tests; `ConsulLease`. A `Member` takes
//! part in the elections of a cluster on behalf of a [`Node`].
//!
//! Invariants:
//!
//! * The lease is a record that is changed by compare-and-swap only. Whoever takes it over has watched that very
//!   version, unchanged, for a whole TTL; whoever holds it has stopped committing before that.
//! * A node is primary only under an epoch greater than every epoch there was before, which it has from the lease
//!   store.
//! * An address that leaves this crate is of the form `http://host:port`.
//!
//! What this crate must not know: databases, the store, the stream, and where the last epoch is kept.

mod advertise;
mod clock;
mod consul;
mod error;
mod leaser;
mod member;
mod memory;
mod node;
mod record;
mod static_lease;
mod stored;
#[doc(hidden)]
pub mod testing;

pub use advertise::AdvertiseUrl;
pub use clock::{BootClock, Clock};
pub use consul::{ConsulConfig, ConsulEnvironment, ConsulLease};
pub use error::Error;
pub use leaser::{Answer, Holder, Leaser, Outcome, Seen, SessionId, Survey, Traits, Version};
pub use member::{Member, MemberConfig, MemberHandle, MemberStatus, Phase};
pub use memory::{Fate, Hook, Leg, MemoryLease, MemoryStore, Op};
pub use node::{Doing, Holdings, Identity, Node, Term, Trouble};
pub use record::{LastEpoch, Place, Positions, Post, Record};
pub use static_lease::{Standing, StaticLease};
