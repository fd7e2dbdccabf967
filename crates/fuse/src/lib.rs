//! The mount: a thin adapter between the FUSE protocol and the store.
//!
//! [`filesystem`] decodes a request, calls one method of [`tree::Tree`] and replies. What a file of the mount is, which
//! I/O mode it is in and which handles are open is the tree's; what a write or a commit means is the store's.
//!
//! Invariants:
//! - Locks stay in the kernel: FUSE_POSIX_LOCKS and FUSE_FLOCK_LOCKS are never negotiated.
//! - A worker thread never waits for a lock, for replication, or for anything that itself goes through the mount.
//! - The I/O mode of an inode does not change while it has handles; correctness never depends on which it is.
//! - All OPEN and CREATE replies carry FOPEN_NOFLUSH: a daemon that dies with descriptors on its own mount would
//!   otherwise wait in exit for its own FLUSH, for ever.
//! - An inode number is never used again for another file.

mod attr;
mod backing;
mod client;
mod create;
mod device;
mod errno;
mod error;
mod filesystem;
mod handle;
mod inode;
mod listing;
mod mount;
mod open;
mod requests;
mod resume;
mod revoke;
mod session;
mod session_table;
mod setattr;
mod synthetic;
mod transfer;
mod tree;
mod unlink;

pub use error::Error;
pub use mount::{Earlier, Keep, Mount, MountConfig, mount};
