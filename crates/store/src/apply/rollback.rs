//! Apply to a database in a rollback mode: pages are written in place, under SQLite's EXCLUSIVE protocol.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use sqlite::lock;

use ltx::Pgno;
use sqlite::header::DatabaseHeader;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::layout::remove_if_exists;
use crate::locks::{self, LockKind};
use crate::log::LtxFile;
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::shared::Shared;
use crate::shared_index::read_full;
use crate::shown_counter::{COMPARED, ShownCounter};
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
        self.keep_exclusive(Some(&database));
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
        } else {
            // The keeper has the same open file: the lock would not go with ours.
            for range in [lock::SHARED, lock::PENDING] {
                locks::unlock(&database, range).during("unlock", &path)?;
            }
        }
        self.keep_exclusive(None);
        Ok(())
    }

    /// Gives EXCLUSIVE back, if it is held.
    pub(crate) fn drop_exclusive(&mut self) {
        let Some(database) = self.exclusive.take() else {
            return;
        };
        for range in [lock::SHARED, lock::PENDING] {
            if let Err(error) = locks::unlock(&database, range) {
                tracing::error!(database = %self.name(), %error, "a lock stays");
            }
        }
        self.keep_exclusive(None);
    }

    /// Whatever becomes of this process, nobody reads half a transaction.
    fn keep_exclusive(&self, database: Option<&File>) {
        if let Some(keeper) = self.env().keeper()
            && let Err(error) = keeper.keep_exclusive(self.name(), database)
        {
            tracing::error!(database = %self.name(), %error, "half a transaction could be read if this process died");
        }
    }

    /// Readers see that something changed by bytes 24 to 39 of page 1. If these stay as they are, the file gets a change
    /// counter of its own: written here if page 1 is not in the transaction, else to be written with it.
    fn show_change(
        &mut self,
        database: &File,
        file: &LtxFile,
        verified: &Verified,
    ) -> Result<Option<ShownCounter>, Error> {
        let path = self.dir().file(FileKind::Database);
        let mut now = vec![0; DatabaseHeader::SIZE];
        if read_full(database, &mut now, 0).during("read", &path)? < now.len() {
            return Ok(None);
        }
        let first = verified
            .changed
            .first()
            .filter(|(pgno, _)| *pgno == Pgno::FIRST);
        let mut then = now.clone();
        if let Some(&first) = first {
            self.for_changed_pages(file, &vec![first], |_, page| {
                then.copy_from_slice(&page[..DatabaseHeader::SIZE]);
                Ok(())
            })?;
        }
        if verified.changed.is_empty() || now[COMPARED] != then[COMPARED] {
            if first.is_some() && self.shown_counter.take().is_some() {
                // What it stood for is written over: it is not found in the file any more.
                remove_if_exists(&self.dir().shown_counter())?;
            }
            return Ok(None);
        }
        let before = self.shown_counter;
        if let (None, Some(before)) = (first, before) {
            before.undo(&mut then);
        }
        let shown = ShownCounter::beyond(&then, before);
        shown.save(self.dir())?;
        self.shown_counter = Some(shown);
        if first.is_none() {
            shown.apply(&mut then);
            database.write_all_at(&then, 0).during("write", &path)?;
        }
        Ok(Some(shown))
    }

    fn write_in_place(
        &mut self,
        database: &File,
        file: &LtxFile,
        verified: &Verified,
    ) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Database);
        let shown = self.show_change(database, file, verified)?;
        self.for_changed_pages(file, &verified.changed, |pgno, page| {
            let mut page = std::borrow::Cow::Borrowed(page);
            if let (Pgno::FIRST, Some(shown)) = (pgno, &shown) {
                shown.apply(page.to_mut());
            }
            database
                .write_all_at(&page, verified.header.page_size.offset(pgno))
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
