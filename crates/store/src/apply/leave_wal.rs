//! A replica leaves WAL mode: only when no application is connected, as SQLite itself.

use std::io;

use sqlite::lock;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::locks::{self, LockKind};
use crate::mount::Mount;
use crate::name::{DbName, FileKind};
use crate::status::Mode;

impl Core {
    /// If page 1 says rollback journal and nobody is connected, the log is copied into the database file and removed.
    pub(crate) fn leave_wal_if_unused(&mut self) {
        if self.writer.is_none()
            || self.mode() == Mode::Wal
            || self.shared.open_handles(FileKind::Database) > 0
        {
            return;
        }
        if let Err(error) = self.leave_wal() {
            tracing::warn!(database = %self.name(), error = error.chain(), "still in WAL mode");
        }
    }

    fn leave_wal(&mut self) -> Result<(), Error> {
        let Some(writer) = self.writer.as_ref() else {
            return Ok(());
        };
        super::checkpoint::checkpoint(self.env(), self.name(), self.dir())?;
        if writer.backlog() > 0 || !writer.try_exclusive()? {
            return Ok(());
        }
        let path = self.dir().file(FileKind::Database);
        let database = writer.database.try_clone().during("duplicate", &path)?;
        let mount = self.env().mount()?.clone();
        // As long as there is a log, readers read it: nobody may write past it.
        if let Err(error) = remove(&*mount, self.name(), FileKind::Wal) {
            locks::try_lock(&database, lock::SHARED, LockKind::Shared).during("lock", &path)?;
            locks::unlock(&database, lock::PENDING).during("unlock", &path)?;
            return Err(error).during("remove", &self.dir().file(FileKind::Wal));
        }
        self.set_writer(None);
        // Without a log it means nothing to anybody.
        if let Err(error) = remove(&*mount, self.name(), FileKind::Shm) {
            tracing::warn!(database = %self.name(), %error, "the wal-index stays");
        }
        locks::unlock(&database, lock::SHARED).during("unlock", &path)?;
        locks::unlock(&database, lock::PENDING).during("unlock", &path)
    }
}

fn remove(mount: &dyn Mount, name: &DbName, kind: FileKind) -> io::Result<()> {
    match mount.unlink(name, kind) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
