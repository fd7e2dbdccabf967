//! Files for the keeper: what it needs to keep applications from committing when this process dies.

use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::error::Error;
use crate::keeper::Held;
use crate::mount::OpenHow;
use crate::name::FileKind;

/// What the keeper has of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    shm: bool,
    pub(crate) wal: bool,
}

impl Core {
    /// Lets the keeper have what applications have open. Not while a request holds the directory: it opens files by their
    /// names.
    pub(crate) fn hold_open_files(&mut self) {
        let open = self.shared.open_handles(FileKind::Shm) > 0
            && self.shared.shm_named.load(Ordering::Acquire);
        self.hold(open);
    }

    /// The same, for an application that is about to have the -shm open, or has emptied it.
    pub(crate) fn hold_for_open(&mut self) {
        self.hold(true);
    }

    fn hold(&mut self, shm: bool) {
        let log = self.shared.open_handles(FileKind::Wal) > 0
            && !self.shared.log_gone.load(Ordering::Acquire)
            && self.dir().file(FileKind::Wal).exists();
        let wanted = Holding { shm, wal: log };
        if !self.env().is_primary() || self.held == Some(wanted) || !(shm || log) {
            return;
        }
        let Some(keeper) = self.env().keeper() else {
            return;
        };
        let held = self.open_for_keeper(wanted).and_then(|files| {
            keeper.hold(self.name(), files).map_err(|source| Error::Io {
                what: format!("database {}: tell the guard", self.name()),
                source,
            })
        });
        match held {
            Ok(()) => {
                self.held = Some(wanted);
                self.shared.guarded.store(true, Ordering::Release);
            }
            // It is being removed at this moment.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(database = %self.name(), error = error.chain(), "applications could commit unseen if this process died");
            }
        }
    }

    /// New handles, not the store's own: a lock belongs to the open file.
    fn open_for_keeper(&self, wanted: Holding) -> Result<Held, Error> {
        let open = |kind| {
            self.env()
                .open_live(self.name(), self.dir(), kind, OpenHow::Existing)
        };
        let optional = |wanted: bool, kind| wanted.then(|| open(kind)).transpose();
        Ok(Held {
            database: open(FileKind::Database)?,
            shm: optional(wanted.shm, FileKind::Shm)?,
            wal: optional(wanted.wal, FileKind::Wal)?,
        })
    }

    /// The log is another file from now on.
    pub(crate) fn held_log_is_gone(&mut self) {
        if let Some(held) = &mut self.held {
            held.wal = false;
        }
    }

    /// Nobody is to be kept out any more.
    pub(crate) fn let_go(&mut self) {
        if self.held.take().is_some()
            && let Some(keeper) = self.env().keeper()
        {
            self.shared.guarded.store(false, Ordering::Release);
            keeper.let_go(self.name());
        }
    }

    /// What the keeper has locked since an earlier process died, and this one has not taken back, as it never came to know
    /// its role: the files keep the mount busy.
    pub(crate) fn let_go_of_inherited(&self) {
        if self.live
            && let Some(keeper) = self.env().keeper()
        {
            keeper.let_go(self.name());
        }
    }

    /// On a replica the keeper has the very files on which the locks of the writer are: they do not go with this process.
    pub(crate) fn hold_writer(&mut self) {
        let (Some(writer), Some(keeper)) = (&self.writer, self.env().keeper()) else {
            return;
        };
        keeper.let_go(self.name());
        let held = writer
            .files()
            .and_then(|files| keeper.hold(self.name(), files));
        match held {
            Ok(()) => {
                self.held = Some(Holding {
                    shm: true,
                    wal: true,
                })
            }
            Err(error) => {
                tracing::error!(database = %self.name(), %error, "applications could write here if this process died");
            }
        }
    }
}
