//! Capture in the rollback modes, at SQLite's commit point: the moment the journal goes (UNLINK for DELETE, SETATTR
//! to 0 for TRUNCATE, the WRITE of a zeroed header for PERSIST). The writer holds EXCLUSIVE then, so the database
//! file stands still; and it can still be told no: SQLite rolls back.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ltx::{PageSize, Pgno};
use sqlite::header::DatabaseHeader;

use crate::capture::LatchKind;
use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::locks::{self, LockKind};
use crate::mount::{OpenHow, Refusal};
use crate::name::FileKind;
use crate::shared_index::read_full;
use crate::status::Mode;
use crate::transaction::{ChangedPages, Extent, Transaction};
use crate::view::{pages_of, read_page};

/// A transaction that was encoded when the database file was synced, before the commit point.
pub(crate) struct Staged {
    pub(super) change: Change,
    /// [`crate::dirty::Dirty::generation`] when it was encoded.
    pub(super) generation: u64,
}

/// Transactions below this many written bytes are not worth staging: encoding them takes less than the hand-over.
pub(crate) const STAGE_FROM: u64 = 256 * 1024;

/// When to look again for writes without a journal while the database is locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// What a transaction did to the database file.
pub(crate) struct Change {
    pub(crate) transaction: Option<Transaction>,
    /// It is SQLite's commit, which may be vetoed. If not, only free pages that SQLite did not journal have another
    /// content (a rollback after the cache spilled): nothing that can be said no to.
    is_commit: bool,
    pub(crate) mode: Mode,
    pub(crate) page_size: Option<PageSize>,
}

/// What of the database file is not as the table says.
pub(crate) struct Found {
    file: File,
    /// `None` if it is not a database.
    page_size: Option<PageSize>,
    pub(crate) page_count: u32,
    pub(crate) changed: ChangedPages,
    is_commit: bool,
    resized: bool,
    mode: Mode,
}

/// The journal at a commit point.
#[derive(Default)]
pub(crate) struct JournalPages {
    pages: BTreeSet<Pgno>,
    page_size: Option<PageSize>,
    valid: bool,
    /// The file name of the super-journal that it names.
    pub(super) super_journal: Option<String>,
}

impl Core {
    /// The database file was synced with a journal in place: encode what is in it now, so that the commit point,
    /// which holds up the whole directory, has little to do.
    pub(crate) fn stage(&mut self) {
        if !self.may_capture()
            || self.mode() == Mode::Wal
            || self.shared.dirty.lock().bytes() < STAGE_FROM
        {
            return;
        }
        match self.read_journal() {
            Ok(journal) if journal.valid => {
                let generation = self.shared.dirty.lock().generation();
                // A failure shows again at the commit point, which is where it can be answered.
                let change = self
                    .examine(&journal)
                    .and_then(|found| self.encode_found(found));
                self.staged = change.ok().map(|change| Staged { change, generation });
            }
            _ => {}
        }
    }

    /// SQLite is about to invalidate the journal. Captures, or says no. `Ok` means: let it happen.
    pub(crate) fn commit_point(&mut self) -> Result<(), Refusal> {
        if self.shared.is_closed() {
            // Deleted; whoever has it open goes on with what nobody else sees.
            return Ok(());
        }
        if !self.settled {
            return Err(Refusal::Veto);
        }
        let result = self.capture_commit();
        if !matches!(result, Ok(Err(_))) {
            self.latch(LatchKind::Capture, &result);
        }
        match result {
            Ok(allowed) => allowed,
            Err(_) => Err(Refusal::CaptureFailed),
        }
    }

    fn capture_commit(&mut self) -> Result<Result<(), Refusal>, Error> {
        let journal = self.read_journal()?;
        if self.shared.dirty.lock().is_empty() && !journal.valid {
            return Ok(Ok(()));
        }
        let generation = self.dirty_generation();
        if let Some(staged) = self
            .staged
            .take()
            .filter(|staged| staged.generation == generation)
        {
            if self.env().is_primary() || self.last_words {
                return self.publish_change(staged.change).map(Ok);
            }
            if staged.change.is_commit {
                return Ok(Err(Refusal::Veto));
            }
        }
        let found = self.examine(&journal)?;
        if !self.env().is_primary() && !self.last_words {
            if found.is_commit {
                return Ok(Err(Refusal::Veto));
            }
            self.give_up_pages(&found.changed);
            return Ok(Ok(()));
        }
        let is_commit = found.is_commit;
        match self
            .encode_found(found)
            .and_then(|change| self.publish_change(change))
        {
            // A rollback that cannot be captured must not be refused: a hot journal would fail every reader. What it
            // left is found by the next comparison.
            Err(error) if !is_commit => {
                self.shared.dirty.lock().note_unseen();
                self.latch(LatchKind::Capture, &Err::<(), _>(error));
                Ok(Ok(()))
            }
            captured => captured.map(Ok),
        }
    }

    /// Free pages that a transaction used again are in no journal, and differ after it was rolled back. This node is not the
    /// primary any more: it needs what the primary has in them.
    fn give_up_pages(&mut self, changed: &ChangedPages) {
        self.shared.dirty.lock().clear();
        for &(pgno, checksum) in changed {
            self.table.set(pgno, checksum);
        }
        if !changed.is_empty() {
            self.shared.wants_content.store(true, Ordering::Release);
        }
    }

    /// Which writes a capture of this moment takes in.
    pub(super) fn dirty_generation(&self) -> u64 {
        let mut dirty = self.shared.dirty.lock();
        if self.shared.unseen_writers.load(Ordering::Acquire) > 0 {
            dirty.note_unseen();
        }
        dirty.generation()
    }

    /// After a hot journal was played back, and before it is removed.
    pub(super) fn capture_rolled_back(&mut self) -> Result<(), Error> {
        let result = self.capture_commit();
        self.latch(LatchKind::Capture, &result);
        result.map(|_| ())
    }

    pub(super) fn publish_change(&mut self, change: Change) -> Result<(), Error> {
        if let Some(transaction) = change.transaction {
            if self.page_size.is_some() && self.page_size != change.page_size {
                self.table = Default::default();
            }
            self.publish(transaction)?;
            self.shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.dirty.lock().clear();
        self.set_mode(change.mode);
        Ok(())
    }

    /// WRITEs without a journal (journal_mode MEMORY or OFF, `cp`): compares what was written, once nobody writes.
    pub(crate) fn capture_unjournaled(&mut self) -> Result<(), Error> {
        if self.shared.dirty.lock().is_empty() {
            return Ok(());
        }
        if self.read_journal()?.valid {
            // In the middle of a transaction; its commit point will come.
            return Ok(());
        }
        let Some(_locked) = self.try_shared()? else {
            // A writer is at work without a journal.
            if let Some(db) = self.database() {
                self.env()
                    .timer
                    .clone()
                    .after(LOCKED_PAUSE, move || db.wake());
            }
            return Ok(());
        };
        self.capture_locked()
    }

    /// Takes SHARED on the database, if no writer has it for itself. The lock goes with the file.
    pub(crate) fn try_shared(&self) -> Result<Option<File>, Error> {
        let kind = FileKind::Database;
        let path = self.dir().file(kind);
        let handle = self
            .env()
            .open_live(self.name(), self.dir(), kind, OpenHow::Existing)?;
        let shared = LockKind::Shared;
        let taken = locks::try_lock(&handle, sqlite::lock::SHARED, shared).during("lock", &path)?;
        Ok(taken.then_some(handle))
    }

    /// The same, with SQLite's lock held already.
    pub(crate) fn capture_locked(&mut self) -> Result<(), Error> {
        if self.shared.dirty.lock().is_empty() {
            return Ok(());
        }
        let change = self
            .examine(&JournalPages::default())
            .and_then(|found| self.encode_found(found))?;
        self.publish_change(change)
    }

    /// Finds out what changed since the table was up to date.
    pub(crate) fn examine(&self, journal: &JournalPages) -> Result<Found, Error> {
        let path = self.dir().file(FileKind::Database);
        let file = File::open(&path).during("open", &path)?;
        let Some(header) = self.header_of(&file, &path)? else {
            return self.not_sqlite(file);
        };
        let page_size = header.page_size;
        let length = file.metadata().during("stat", &path)?.len();
        let in_file =
            u32::try_from(length.div_ceil(u64::from(page_size.get()))).unwrap_or(u32::MAX);
        let page_count = header.trusted_page_count().unwrap_or(in_file);
        if page_count > in_file {
            // For SQLite, too, this is no whole database.
            let reason = format!("its header says {page_count} pages, it has {in_file}");
            return Err(Error::BadFile { path, reason });
        }
        let resized = self.page_size.is_some_and(|known| known != page_size)
            || journal
                .page_size
                .is_some_and(|of_journal| of_journal != page_size);
        let whole = resized || self.pos().txid.is_zero() || self.shared.dirty.lock().is_unseen();
        let mut changed = ChangedPages::new();
        let mut is_commit = page_count != self.table.page_count() || resized;
        let mut page = Vec::new();
        for pgno in self.candidates(journal, page_size, page_count, whole) {
            read_page(&file, page_size.offset(pgno), page_size, &mut page).during("read", &path)?;
            let checksum = ltx::page_checksum(pgno, &page);
            if resized || checksum != self.table.get(pgno) {
                is_commit |= !journal.valid || journal.pages.contains(&pgno);
                changed.push((pgno, checksum));
            }
        }
        let mode = if header.is_wal() {
            Mode::Wal
        } else {
            Mode::Rollback
        };
        Ok(Found {
            file,
            page_size: Some(page_size),
            page_count,
            changed,
            is_commit,
            resized,
            mode,
        })
    }

    /// Encodes what was found, if there is anything.
    pub(crate) fn encode_found(&self, found: Found) -> Result<Change, Error> {
        let Found {
            file,
            page_size,
            page_count,
            changed,
            is_commit,
            resized,
            mode,
        } = found;
        let path = self.dir().file(FileKind::Database);
        let transaction = match page_size {
            Some(page_size) if is_commit || !changed.is_empty() => {
                let extent = if resized {
                    Extent::Snapshot
                } else {
                    Extent::Commits(1)
                };
                Some(
                    self.encode(extent, page_size, page_count, changed, |pgno, page| {
                        read_page(&file, page_size.offset(pgno), page_size, page)
                            .during("read", &path)
                    })?,
                )
            }
            _ => None,
        };
        Ok(Change {
            transaction,
            is_commit,
            mode,
            page_size: page_size.or(self.page_size),
        })
    }

    /// Pages that may have changed, ascending: what was seen written, what is in the journal, what the file grew by.
    fn candidates(
        &self,
        journal: &JournalPages,
        page_size: PageSize,
        page_count: u32,
        whole: bool,
    ) -> BTreeSet<Pgno> {
        if whole {
            return pages_of(page_size, page_count).collect();
        }
        let written = self
            .shared
            .dirty
            .lock()
            .page_indices(u64::from(page_size.get()));
        let written = written
            .into_iter()
            .filter_map(|index| Pgno::new(u32::try_from(index + 1).ok()?));
        let growth = (self.table.page_count() + 1..=page_count).filter_map(Pgno::new);
        let all = written.chain(journal.pages.iter().copied()).chain(growth);
        all.filter(|pgno| pgno.get() <= page_count && *pgno != page_size.lock_page())
            .collect()
    }

    /// How the database is written, as its file says.
    pub(super) fn mode_of_database_file(&self) -> Result<Mode, Error> {
        let path = self.dir().file(FileKind::Database);
        let file = File::open(&path).during("open", &path)?;
        Ok(match self.header_of(&file, &path)? {
            Some(header) if header.is_wal() => Mode::Wal,
            Some(_) => Mode::Rollback,
            None => Mode::NotSqlite,
        })
    }

    fn header_of(&self, file: &File, path: &Path) -> Result<Option<DatabaseHeader>, Error> {
        let mut bytes = [0; DatabaseHeader::SIZE];
        let read = read_full(file, &mut bytes, 0).during("read", path)?;
        Ok(DatabaseHeader::parse(&bytes[..read]).ok())
    }

    /// The file has no header of SQLite's. Empty is how a database begins; anything else is left alone.
    fn not_sqlite(&self, file: File) -> Result<Found, Error> {
        let path = self.dir().file(FileKind::Database);
        let empty = file.metadata().during("stat", &path)?.len() == 0;
        let mode = if empty { Mode::Empty } else { Mode::NotSqlite };
        if mode == Mode::NotSqlite && self.mode() != mode {
            tracing::warn!(database = %self.name(), "not a SQLite database: left alone and not replicated");
        }
        let changed = ChangedPages::new();
        Ok(Found {
            file,
            page_size: None,
            page_count: 0,
            changed,
            is_commit: false,
            resized: false,
            mode,
        })
    }

    /// Reads the page numbers of the journal. They are bounded by the size of the database.
    pub(super) fn read_journal(&self) -> Result<JournalPages, Error> {
        let mut read = JournalPages::default();
        let Some(mut journal) = crate::recovery::journal::open_valid(self.dir())? else {
            return Ok(read);
        };
        read.valid = true;
        read.page_size = journal.header().map(|header| header.page_size);
        read.super_journal = journal.super_journal_name().and_then(|path| {
            let path = std::str::from_utf8(&path).ok()?;
            Some(Path::new(path).file_name()?.to_str()?.to_owned())
        });
        for record in journal.records() {
            let record =
                record.map_err(|source| crate::recovery::journal::fault(self.dir(), source))?;
            read.pages.insert(record.pgno);
        }
        Ok(read)
    }
}
