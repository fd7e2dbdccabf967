//! A start under a mount that was never gone: another process of this node has died, or has made room, and applications
//! have the databases open.
//!
//! Nothing on disk is touched. The table is that of the end of the log, whatever the content is; what differs from it is
//! found through the mount, as a reader, and becomes a transaction: in WAL mode at once, in the rollback modes at the
//! next commit point or when nobody writes. So a transaction that is going on goes on, and one that was being captured
//! when the other process died is captured once.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ltx::{PageSize, Pos};
use sqlite::lock;

use super::{Place, keep_base, mode_of_file, replay, settle_incarnation};
use crate::capture::{LatchKind, Occasion};
use crate::core::Core;
use crate::database::Database;
use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::locks::LockKind;
use crate::log::{LtxFile, LtxLog};
use crate::name::{DbName, FileKind};
use crate::shared_index::SharedIndex;
use crate::shown_counter::ShownCounter;
use crate::status::Mode;
use crate::table::ChecksumTable;
use crate::transaction::{ChangedPages, Extent};
use crate::view::{Locked, View, size_from_header};

/// Opens the database in `dir` as it is.
pub(crate) fn open(env: &Arc<Env>, name: &DbName) -> Result<Arc<Database>, Error> {
    let dir = env.data.database(name);
    std::fs::create_dir_all(dir.ltx()).during("create", &dir.ltx())?;
    let incarnation = settle_incarnation(&dir, None)?;
    let stored = keep_base(&dir)?;
    let (log, complaints) = LtxLog::open(&dir.ltx())?;
    for complaint in complaints {
        tracing::warn!(database = %name, "{complaint}");
    }
    let files = log.files();
    let base = stored.map(|saved| (saved.table, saved.pos));
    let pos = log.end().or(base.as_ref().map(|(_, pos)| *pos));
    let pos = pos.unwrap_or(Pos::EMPTY);
    let compared = replay::compare(base, &files, pos, &ChecksumTable::default());
    let table = compared
        .unwrap_or_else(|error| {
            tracing::warn!(database = %name, error = error.chain(), "the log cannot be used");
            Default::default()
        })
        .at_end
        // Then all of it is what differs.
        .unwrap_or_default();
    let (mode, page_size) = kind_of(&dir.file(FileKind::Database), name, &files)?;
    let shown_counter = ShownCounter::load(&dir)?;
    let place = Place {
        incarnation,
        pos,
        mode,
        page_size,
        page_count: table.page_count(),
    };
    let shared = place.share(env, name, dir, log)?;
    shared.dirty.lock().note_unseen();
    Ok(Database::new(shared.clone(), move |me| {
        // In the rollback modes the next commit point compares. A log can only be followed from a place that is known.
        let settled = !matches!(mode, Mode::Wal);
        let mut core = Core::new(shared, me, table, page_size, settled);
        core.shown_counter = shown_counter;
        core.live = true;
        core
    }))
}

/// How the database is written, and the page size of the log, or of the file if there is no log.
fn kind_of(
    path: &std::path::Path,
    name: &DbName,
    files: &[LtxFile],
) -> Result<(Mode, Option<PageSize>), Error> {
    let of_log = files.last().map(|file| file.page_size);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((Mode::Empty, of_log));
        }
        Err(error) => return Err(error).during("open", path),
    };
    let mode = mode_of_file(&file, path)?;
    let of_file = match mode {
        Mode::Wal | Mode::Rollback => Some(size_from_header(&file, path, name)?.0),
        Mode::Empty | Mode::NotSqlite => None,
    };
    Ok((mode, of_log.or(of_file)))
}

impl Core {
    /// The mount is there, and the role is known: finds out what was committed since the end of the log.
    pub(crate) fn come_up_live(&mut self) -> Result<(), Error> {
        let role = self.env().role();
        // Not known yet what this node is, or about to be: the keeper keeps applications out.
        let decided = self.env().is_primary() || role.is_replica();
        if !self.live || !decided {
            return Ok(());
        }
        let finished = self.finish_what_was_begun();
        let result = if finished.is_err() {
            finished
        } else if self.env().is_primary() {
            self.come_up_as_primary()
        } else {
            self.come_up_as_replica()
        };
        self.live = result.is_err();
        result
    }

    /// A transaction was being written in place, and the lock for that was kept.
    fn finish_what_was_begun(&mut self) -> Result<(), Error> {
        let locked = self
            .env()
            .keeper()
            .and_then(|keeper| keeper.take_exclusive(self.name()));
        let last = self.shared.log.read().last().cloned();
        if let (Some(locked), Some(last)) = (locked, last) {
            tracing::info!(database = %self.name(), pos = %self.pos(), "finishing a transaction that was being applied");
            self.exclusive = Some(locked);
            self.unfinished = Some(self.again(last)?);
        }
        self.finish_apply()
    }

    fn come_up_as_primary(&mut self) -> Result<(), Error> {
        if self.mode() != Mode::Wal {
            self.settled = true;
            return self.capture(Occasion::Wake);
        }
        if self.writer.is_none()
            && let Some((_, Some(shm))) = self.env().take_back(self.name())
        {
            // Whoever was publishing may be dead. The lock to recover under is held already.
            let mut index = SharedIndex::of_file(shm, self.name(), self.dir())?;
            // An application that begins a new index has the file to itself, and waits for the strand within that.
            if !index.try_lock(lock::WAL_DMS, LockKind::Shared)? {
                return Err(index.busy("DMS", std::time::Duration::ZERO));
            }
            let recovered = index.header_or_recover();
            index.unlock(lock::WAL_DMS)?;
            recovered?;
        }
        self.diff("another process was serving it")?;
        self.shared.dirty.lock().clear();
        self.settled = true;
        if self.writer.is_none() {
            // Joins: what is published is known only while there is an index.
            self.capture(Occasion::Wake)?;
        }
        if let Some(keeper) = self.env().keeper() {
            keeper.release(self.name());
        }
        Ok(())
    }

    fn come_up_as_replica(&mut self) -> Result<(), Error> {
        self.settled = true;
        self.shared.dirty.lock().clear();
        if !matches!(self.mode(), Mode::Wal | Mode::Rollback) {
            return Ok(());
        }
        self.join_as_writer()?;
        if self.table.page_count() == 0 || self.content_differs()?.is_none() {
            return Ok(());
        }
        // A transaction that is in the log and not wholly in the database. A primary's log is made of its database: what
        // differs there is newer, and would be a mixture of both.
        let last = self.shared.log.read().last().cloned();
        if let Some(last) = last.filter(|_| !self.env().was_primary) {
            self.unfinished = Some(self.again(last)?);
            self.finish_apply()?;
        }
        if let Some(content) = self.content_differs()? {
            if self.env().was_primary {
                self.put_live_content_aside(&content)?;
            }
            tracing::warn!(database = %self.name(), pos = %self.pos(), "its content is not that of its log: asking for that of the primary");
            self.table = content;
            self.shared.set_pos(Pos::EMPTY);
            self.shared.wants_content.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Becomes the writer of a database in WAL mode, with the locks that were kept for that if there are.
    pub(crate) fn join_as_writer(&mut self) -> Result<(), Error> {
        if self.mode() != Mode::Wal || self.writer.is_some() {
            return Ok(());
        }
        for kind in [FileKind::Wal, FileKind::Shm] {
            if !self.dir().file(kind).exists() {
                self.dir()
                    .make_log_files(&self.dir().file(FileKind::Database))?;
                self.env().forget_name(&self.name().file(kind));
            }
        }
        let writer = match self.env().take_back(self.name()) {
            Some((database, Some(shm))) => crate::apply::wal_writer::WalWriter::with_locks(
                self.env(),
                self.name(),
                self.dir(),
                database,
                shm,
            )?,
            _ => crate::apply::wal_writer::WalWriter::join(self.env(), self.name(), self.dir())?,
        };
        self.set_writer(Some(writer));
        Ok(())
    }

    /// The table of the content, if that is not the one of the position.
    fn content_differs(&self) -> Result<Option<ChecksumTable>, Error> {
        let wal = self.mode() == Mode::Wal;
        let locked = Locked::take(self.env(), self.name(), self.dir(), wal)?;
        let (view, _) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
        let mut table = ChecksumTable::default();
        table.resize(view.page_count());
        let mut page = Vec::new();
        for pgno in view.pages() {
            view.read(pgno, &mut page)?;
            table.set(pgno, ltx::page_checksum(pgno, &page));
        }
        Ok((table != self.table).then_some(table))
    }

    /// What was committed here when nobody saw it, and another node is the primary now.
    fn put_live_content_aside(&self, content: &ChecksumTable) -> Result<(), Error> {
        let wal = self.mode() == Mode::Wal;
        let locked = Locked::take(self.env(), self.name(), self.dir(), wal)?;
        let (view, _) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
        let known = self.page_size == Some(view.page_size()) && !self.pos().txid.is_zero();
        let extent = if known {
            Extent::Commits(1)
        } else {
            Extent::Snapshot
        };
        let changed: ChangedPages = view
            .pages()
            .map(|pgno| (pgno, content.get(pgno)))
            .filter(|(pgno, sum)| !known || self.table.get(*pgno) != *sum)
            .collect();
        let (page_size, page_count) = (view.page_size(), view.page_count());
        let transaction = self.encode(extent, page_size, page_count, changed, |pgno, page| {
            view.read(pgno, page)
        })?;
        crate::aside::put_transaction_aside(self.env(), self.name(), transaction)
    }

    /// All of a file of the log, to be applied once more.
    fn again(&self, file: LtxFile) -> Result<(LtxFile, crate::apply::Verified), Error> {
        let fault = |source| Error::Ltx {
            what: file.path().display().to_string(),
            source,
        };
        let opened = file.open().during("open", file.path())?;
        let mut reader = ltx::Reader::new(std::io::BufReader::new(opened)).map_err(fault)?;
        let header = *reader.header();
        let (mut changed, mut mode, mut page) = (ChangedPages::new(), None, Vec::new());
        while let Some(pgno) = reader.next_page(&mut page).map_err(fault)? {
            if pgno == ltx::Pgno::FIRST {
                mode = Some(crate::apply::mode_of(&page));
            }
            changed.push((pgno, ltx::page_checksum(pgno, &page)));
        }
        let trailer = reader.finish().map_err(fault)?;
        let verified = crate::apply::Verified {
            header,
            trailer,
            changed,
            mode,
        };
        Ok((file, verified))
    }
}

impl Core {
    /// A wake-up of a database that has not come up: tries again. `false` if that failed once more.
    pub(crate) fn try_to_come_up(&mut self) -> bool {
        if !self.live {
            return true;
        }
        if !self.env().is_mounted() {
            // The role is known before: with the mount it is taken up.
            return false;
        }
        self.env().wait_for_answers();
        let result = self.come_up_live();
        self.latch(LatchKind::Role, &result);
        !self.live
    }
}
