//! The stream between the primary and its replicas: gRPC, `proto/litefs/v1`.
//!
//! The primary offers a [`server`]; a replica [`follow`]s it. What a replica lacks goes over as LTX files in small
//! pieces, all databases at the same time over one stream.
//!
//! # Invariants
//!
//! - **Databases are independent.** The pieces of different databases are interleaved, each database has a credit of
//!   its own, and each is applied by a thread of its own. One that is stuck, large or broken delays no other.
//! - **A replica never stops reading.** Bytes in flight are bounded by the credit, so what was received is bounded
//!   too, and a heartbeat is never stuck behind a database.
//! - **Nothing is polled.** The primary sends when the store says that a position moved.
//! - **Errors heal.** What a replica cannot apply it asks for again, from where it really is; the state of a stream
//!   dies with it, and the next one begins with the positions of both sides.
//! - **Peers are not trusted.** Every message is checked before it has an effect; what breaks the protocol ends the
//!   stream with the reason.
//! - **Half-open connections are found within seconds**, by heartbeats and their echoes, on both sides.
//!
//! # What this crate must not know
//!
//! SQLite, the mount, files below the data directory, leases and elections. It asks the store what to send and gives
//! it what came; whether this node is the primary the store knows.

mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hello;
mod primary;
pub mod proto;
mod refusal;
mod replica;
mod wire;

pub use error::{Error, Violation};
pub use primary::{ReplicaStatus, Replicas, ServerConfig, TailWindow, server};
pub use refusal::{Refusal, RefusalReason};
pub use replica::{FollowConfig, FollowState, Follower, follow};
