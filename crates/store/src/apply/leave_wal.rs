//! A replica leaves WAL mode: only when no application is connected, as SQLite itself.

use sqlite::lock;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::locks;
use crate::name::FileKind;
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
        self.set_writer(None);
        let mount = self.env().mount()?;
        for kind in [FileKind::Wal, FileKind::Shm] {
            match mount.unlink(self.name(), kind) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).during("remove", &self.dir().file(kind));
                }
                _ => {}
            }
        }
        locks::unlock(&database, lock::SHARED).during("unlock", &path)?;
        locks::unlock(&database, lock::PENDING).during("unlock", &path)
    }
}
