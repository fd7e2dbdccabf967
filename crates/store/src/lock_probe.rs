//! Who holds which of SQLite's locks: asked by FUSE workers, without a request and without waiting.

use std::fs::File;
use std::io;
use std::sync::Arc;

use sqlite::lock;

use crate::locks::{self, LockKind};

/// The store's own handles on a database and its -shm, opened through the mount.
#[derive(Clone)]
pub(crate) struct LockProbe {
    pub(crate) database: Arc<File>,
    pub(crate) shm: Arc<File>,
}

impl LockProbe {
    /// A checkpoint is going on, or a connection has the whole database for itself: what is in the -wal now may be
    /// overwritten as soon as it is synced.
    pub(crate) fn log_may_restart(&self) -> io::Result<bool> {
        Ok(
            locks::is_held_by_another(&self.shm, lock::WAL_CKPT, LockKind::Shared)?
                || locks::is_held_by_another(&self.database, lock::SHARED, LockKind::Shared)?,
        )
    }

    /// Some connection is in the middle of writing to the log.
    pub(crate) fn writer_active(&self) -> io::Result<bool> {
        locks::is_held_by_another(&self.shm, lock::WAL_WRITE, LockKind::Shared)
    }
}
