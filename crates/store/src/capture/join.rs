//! Joining a database in WAL mode on the primary as one more connection, while applications have it open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::{Core, Joined};
use crate::error::Error;
use crate::lock_probe::LockProbe;
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::shared_index::SharedIndex;

impl Core {
    /// Joins if applications have the wal-index open and we have not.
    pub(crate) fn join_if_open(&mut self) -> Result<(), Error> {
        let open = self.shared.open_handles(FileKind::Shm) > 0
            && self.shared.shm_named.load(Ordering::Acquire);
        if self.joined.is_some() || !open {
            return Ok(());
        }
        match self.join() {
            // It is being removed at this moment; what was committed is captured with its UNLINK.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            joined => joined,
        }
    }

    fn join(&mut self) -> Result<(), Error> {
        let database = self.env().open_live(
            self.name(),
            self.dir(),
            FileKind::Database,
            OpenHow::Existing,
        )?;
        let shm = SharedIndex::join_others(self.env(), self.name(), self.dir())?;
        *self.shared.probe.write() = Some(LockProbe {
            database: Arc::new(database),
            shm: shm.file.clone(),
        });
        self.joined = Some(Joined { shm, mark: None });
        Ok(())
    }

    /// Lets go of everything that was opened through the mount for capture.
    pub(crate) fn leave(&mut self) {
        *self.shared.probe.write() = None;
        self.joined = None;
        self.wal.watch = None;
        self.wal.file = None;
        self.forget_unneeded_watch();
    }

    /// Whoever opened the database in WAL mode writes to it without a request, also in other modes.
    pub(crate) fn forget_unneeded_watch(&mut self) {
        if self.shared.unseen_writers.load(Ordering::Acquire) == 0 {
            self.wal.database_watch = None;
        }
    }

    /// While the database cannot be replicated no application shall commit in WAL mode.
    pub(crate) fn keep_writers_out(&mut self) {
        if let Some(joined) = &self.joined {
            // Held by a writer right now: the next try comes with the next failure.
            let _ = joined
                .shm
                .try_lock(sqlite::lock::WAL_WRITE, crate::locks::LockKind::Exclusive);
        }
    }

    /// Undoes [`Core::keep_writers_out`].
    pub(crate) fn let_writers_in(&mut self) {
        if let Some(joined) = &self.joined
            && let Err(error) = joined.shm.unlock_write()
        {
            tracing::error!(database = %self.name(), error = error.chain(), "writers stay locked out");
        }
    }
}
