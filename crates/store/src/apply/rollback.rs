//! Apply to a database in a rollback mode: pages are written in place, under SQLite's EXCLUSIVE protocol.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use sqlite::lock;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::locks::{self, LockKind};
use crate::log::LtxFile;
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::shared::Shared;
use crate::status::Mode;

use super::Verified;
use super::wal_writer::WalWriter;

/// With PENDING held no new reader gets in; the ones inside get this long to finish.
const DRAIN: Duration = Duration::from_millis(100);

/// Then readers are let in again for this long: neither side starves.
const LET_IN: Duration = Duration::from_millis(10);

/// In all, before the apply is given up (and tried again by the caller).
const PATIENCE: Duration = Duration::from_secs(5);

impl Core {
    pub(crate) fn apply_rollback(
        &mut self,
        file: &LtxFile,
        verified: &Verified,
    ) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Database);
        let database = match self.exclusive.take() {
            Some(held) => held,
            None => lock_exclusive(&self.shared)?,
        };
        let written = self.write_in_place(&database, file, verified);
        if written.is_err() {
            // Half a transaction: nobody may read it. The next try goes on with the lock.
            self.exclusive = Some(database);
            return written;
        }
        if verified.mode == Some(Mode::Wal) {
            // Before anybody can read that the database is in WAL mode now, we are its only writer.
            let writer = WalWriter::with_database(self.env(), self.name(), self.dir(), database)?;
            self.set_mode(Mode::Wal);
            locks::try_lock(&writer.database, lock::SHARED, LockKind::Shared)
                .during("unlock", &path)?;
            locks::unlock(&writer.database, lock::PENDING).during("unlock", &path)?;
            self.set_writer(Some(writer));
        }
        Ok(())
    }

    fn write_in_place(
        &self,
        database: &File,
        file: &LtxFile,
        verified: &Verified,
    ) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Database);
        self.for_changed_pages(file, &verified.changed, |pgno, page| {
            database
                .write_all_at(page, verified.header.page_size.offset(pgno))
                .during("write", &path)
        })?;
        let length = u64::from(verified.header.commit) * u64::from(verified.header.page_size.get());
        if database.metadata().during("stat", &path)?.len() != length {
            database.set_len(length).during("resize", &path)?;
        }
        Ok(())
    }
}

/// Opens the database through the mount and takes EXCLUSIVE as SQLite does: PENDING, so that no reader comes in, then
/// the readers' range.
pub(crate) fn lock_exclusive(shared: &Shared) -> Result<File, Error> {
    let path = shared.dir.file(FileKind::Database);
    let database = shared.env.open_live(
        &shared.name,
        &shared.dir,
        FileKind::Database,
        OpenHow::Existing,
    )?;
    let begun = Instant::now();
    loop {
        if locks::lock_within(&database, lock::PENDING, LockKind::Exclusive, DRAIN)
            .during("lock", &path)?
        {
            if locks::lock_within(&database, lock::SHARED, LockKind::Exclusive, DRAIN)
                .during("lock", &path)?
            {
                return Ok(database);
            }
            locks::unlock(&database, lock::PENDING).during("unlock", &path)?;
        }
        if begun.elapsed() > PATIENCE || shared.is_closed() {
            let waited_ms = begun.elapsed().as_millis() as u64;
            return Err(Error::Busy {
                db: shared.name.clone(),
                lock: "SHARED",
                waited_ms,
            });
        }
        std::thread::sleep(LET_IN);
    }
}
