//! SQLite clients in other processes, both sides of them: what a test holds and what runs in the client's process.

mod digest;
mod open;
mod peer;
mod session;
mod watch;
mod workload;

pub(crate) use peer::Peer;

pub use digest::run_digest;
pub use open::Access;
pub use session::{Session, SqlError, run_session};
pub use watch::{Watch, WatchReport, run_watch};
pub use workload::{Outcome, Running, Workload, run_workload};
