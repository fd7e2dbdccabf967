//! The deep one: the databases of a node, capture of what SQLite commits, apply of what other nodes committed, the
//! LTX log, the role.
//!
//! Invariants:
//! - A database's content, its page-checksum table and its position agree at every publication: the position is a
//!   TXID and the checksum of the whole content.
//! - One TXID per commit; an LTX file may stand for several commits in a row.
//! - What changes a database runs on its strand, one after the other. FUSE workers never wait for it.
//! - Every access to a -shm and every write to a live database or -wal goes through the mount ([`Mount`]).
//! - The process never ends because of one database: what fails is latched, shown and tried again.
//!
//! It must not know of FUSE, of the network, of any runtime, nor of who decides about the role.

mod apply;
pub mod aside;
mod capture;
mod core;
mod database;
mod dirty;
mod dropped;
mod env;
mod error;
mod events;
mod fence;
mod history;
mod hooks;
mod import;
mod incarnation;
mod incoming;
mod keeper;
mod lag;
mod layout;
mod lifecycle;
mod lock_probe;
mod locks;
mod log;
mod machine;
mod mount;
mod name;
mod own_thread;
mod pool;
mod read_mark;
mod recovery;
mod retention;
mod role;
mod scrub;
mod shared;
mod shared_index;
mod shown_counter;
mod snapshot;
mod spool;
mod status;
mod stock;
mod store;
mod strand;
mod table;
#[doc(hidden)]
pub mod testing;
mod timer;
mod transaction;
mod view;
mod watch;

pub use database::Database;
pub use dropped::DroppedDatabase;
pub use error::{Error, ErrorKind};
pub use events::{Event, Observer};
pub use history::{Chapter, History, Parting};
pub use import::Import;
pub use incarnation::{ClusterId, ClusterIdError, Incarnation};
pub use incoming::Incoming;
pub use keeper::{Held, Keeper};
pub use layout::{DataDir, DatabaseDir};
pub use log::{LtxFile, NextLtx, SnapshotReason};
pub use mount::{Completion, Mount, OpenHow, Refusal};
pub use name::{DbName, FileKind, MountName, NameError};
pub use own_thread::OwnThreads;
pub use role::{Epoch, PrimaryInfo, Role};
pub use snapshot::Snapshot;
pub use status::{DatabaseStatus, Lag, Mode};
pub use store::{Store, StoreConfig};
