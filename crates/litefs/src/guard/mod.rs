//! `litefs mount` is two processes: the guard, which was started, and its child, the worker, which is the node.
//!
//! A node is a client of its own mount, and applications go on without it: with a passthrough log they commit what
//! nobody captures. So the guard stands beside it, with nothing but system calls, locked in memory:
//!
//! - It has a descriptor of the FUSE device. The connection outlives the worker.
//! - It has the databases open through the mount that applications have open in WAL mode ([`fence`]). When the worker
//!   dies, or is stopped until its deadline ([`table`]), the guard takes SQLite's locks: nobody commits.
//! - Then it starts a new worker, on the same connection ([`run`]). Applications notice a pause.
//! - If none comes up it aborts the connection: a caller would hang.
//!
//! The worker's side is [`Link`]. The two talk in packets ([`message`]), and what the guard keeps for the next worker
//! it does not understand. A third process watches over the two ([`watcher`]).

mod connection;
mod fence;
mod last_resort;
mod link;
mod message;
mod restarts;
mod revoke;
mod run;
mod table;
mod watcher;
mod worker;

pub(crate) use link::{Inherited, Link};
pub(crate) use run::run;
pub(crate) use watcher::{COMMAND as WATCHER, run as watch};
pub(crate) use worker::COMMAND as WORKER;
