//! Apply: a received transaction becomes the content of the database, while applications read it.

pub(crate) mod checkpoint;
pub(crate) mod create;
pub(crate) mod leave_wal;
pub(crate) mod rollback;
pub(crate) mod wal;
pub(crate) mod wal_writer;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use ltx::{Pgno, Pos, TxId};
use sqlite::header::DatabaseHeader;

use crate::capture::LatchKind;
use crate::core::Core;
use crate::error::Error;
use crate::history::History;
use crate::incoming::Incoming;
use crate::log::LtxFile;
use crate::status::Mode;
use crate::transaction::{ChangedPages, unix_ms};

/// A transaction that is verified and known to end with the checksum that its author computed.
pub(crate) struct Verified {
    pub(crate) header: ltx::Header,
    pub(crate) trailer: ltx::Trailer,
    /// Pages whose content differs from the table, ascending.
    pub(crate) changed: ChangedPages,
    /// How the database is written after the transaction; `None` if page 1 is not in it.
    pub(crate) mode: Option<Mode>,
}

impl Core {
    /// Verifies, stores and applies a received LTX file.
    pub(crate) fn apply(&mut self, incoming: Incoming) -> Result<Pos, Error> {
        if !self.env().is_replica() {
            return Err(Error::Io {
                what: format!("database {}: apply", self.name()),
                source: std::io::Error::other("this node is not a replica"),
            });
        }
        self.apply_received(incoming)
    }

    pub(crate) fn apply_received(&mut self, mut incoming: Incoming) -> Result<Pos, Error> {
        let taken_stock = self.pay_capture().and_then(|()| self.take_stock());
        self.latch(LatchKind::Apply, &taken_stock);
        taken_stock?;
        self.finish_apply()?;
        let verified = self.verify(&mut incoming)?;
        if !verified.header.is_snapshot() {
            return self.store_and_apply(incoming, verified);
        }
        let kept = self.keep_own_history(&incoming);
        self.latch(LatchKind::Apply, &kept);
        let Some(entry) = kept? else {
            return self.store_and_apply(incoming, verified);
        };
        self.keep_way_back(&entry, &verified);
        let pos = self.store_and_apply(incoming, verified)?;
        if let Some(snapshot) = self.shared.log.read().last() {
            self.keep_snapshot(&entry, snapshot);
        }
        Ok(pos)
    }

    /// A snapshot takes the place of the log. What is only known here goes aside: everything, if this is another
    /// history; else (the primary's log does not reach back to our position) what this node committed itself.
    /// Returns the directory in `aside/`, if there is something.
    fn keep_own_history(&self, incoming: &Incoming) -> Result<Option<PathBuf>, Error> {
        let own = self.env().node_id;
        let other = incoming.replaces_history;
        let common = incoming.common.map_or(0, TxId::get);
        let files: Vec<LtxFile> = self
            .shared
            .log
            .read()
            .files()
            .into_iter()
            .filter(|file| file.max_txid.get() > common && (other || file.node_id == own))
            .collect();
        crate::aside::put_files_aside(self.env(), self.name(), &files)
    }

    /// Finishes the apply of a transaction that is in the log already, if there is one. Applying again is harmless.
    pub(crate) fn finish_apply(&mut self) -> Result<(), Error> {
        let Some((file, verified)) = self.unfinished.take() else {
            return Ok(());
        };
        let result = self.apply_pages(&file, &verified);
        self.latch(LatchKind::Apply, &result);
        match result {
            Ok(()) => {
                self.applied(&verified);
                Ok(())
            }
            Err(error) => {
                self.unfinished = Some((file, verified));
                Err(error)
            }
        }
    }

    /// Checks the file, that it follows on our position, and what the database's checksum will be after it.
    pub(crate) fn verify(&self, incoming: &mut Incoming) -> Result<Verified, Error> {
        let fault = |source| Error::Ltx {
            what: format!("database {}: received LTX file", self.name()),
            source,
        };
        let mut reader = ltx::Reader::new(incoming.spool.reader()?).map_err(fault)?;
        let header = *reader.header();
        let pos = self.pos();
        if !header.is_snapshot() && (header.pre_pos() != pos || !self.settled) {
            return Err(Error::PositionMismatch {
                db: self.name().clone(),
                expected: header.pre_pos(),
                actual: pos,
            });
        }
        let new_size = self
            .page_size
            .is_some_and(|known| known != header.page_size);
        let mut changed = ChangedPages::new();
        let mut mode = None;
        let mut page = Vec::new();
        while let Some(pgno) = reader.next_page(&mut page).map_err(fault)? {
            if pgno == Pgno::FIRST {
                mode = Some(mode_of(&page));
            }
            let checksum = ltx::page_checksum(pgno, &page);
            if new_size || checksum != self.table.get(pgno) {
                changed.push((pgno, checksum));
            }
        }
        let trailer = reader.finish().map_err(fault)?;
        let empty = crate::table::ChecksumTable::default();
        let table = if new_size { &empty } else { &self.table };
        let sum = table.sum_after(changed.iter().copied(), header.commit);
        if sum != trailer.post_apply_checksum {
            return Err(Error::PostApplyMismatch {
                db: self.name().clone(),
                txid: header.max_txid,
                expected: trailer.post_apply_checksum,
                actual: sum,
            });
        }
        Ok(Verified {
            header,
            trailer,
            changed,
            mode,
        })
    }

    /// First into the log, then into the database: a crash in between is made good at the next start, a failure at
    /// the next try.
    pub(crate) fn store_and_apply(
        &mut self,
        incoming: Incoming,
        verified: Verified,
    ) -> Result<Pos, Error> {
        let stored = if self.env().is_primary() {
            self.store_own_file(incoming.spool, &verified.header, &verified.trailer)
        } else {
            self.store_file(incoming.spool, &verified.header, &verified.trailer)
                .and_then(|()| self.take_over_history(incoming.history))
        };
        self.latch(LatchKind::Apply, &stored);
        stored?;
        let Some(file) = self.shared.log.read().last().cloned() else {
            return Err(Error::Closed(self.name().clone()));
        };
        self.unfinished = Some((file, verified));
        self.finish_apply()?;
        Ok(self.pos())
    }

    /// What the primary knows of the terms that wrote to the database.
    fn take_over_history(&self, history: Option<History>) -> Result<(), Error> {
        match history.filter(|history| *self.shared.history.read() != *history) {
            Some(history) => {
                history.save(&self.dir().history())?;
                *self.shared.history.write() = history;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The database has the transaction now.
    fn applied(&mut self, verified: &Verified) {
        self.shared.unreadable.store(false, Ordering::Release);
        if verified.header.is_snapshot() {
            self.shared.wants_content.store(false, Ordering::Release);
            self.shared.update(|state| state.damaged.clear());
        }
        self.placed = false;
        self.bring_table_up_to(verified);
        let pos = Pos {
            txid: verified.header.max_txid,
            checksum: verified.trailer.post_apply_checksum,
        };
        let transactions = pos.txid.get().saturating_sub(self.pos().txid.get()).max(1);
        let counters = &self.shared.counters;
        if self.env().is_replica() {
            counters.applied.fetch_add(transactions, Ordering::Relaxed);
            let lag_ms = (unix_ms() - verified.header.timestamp_ms).max(0);
            self.shared.update(|state| state.lag_ms = lag_ms);
        } else {
            // An import.
            counters.commits.fetch_add(transactions, Ordering::Relaxed);
        }
        self.moved_to(pos, verified.header.timestamp_ms);
        self.checkpoint_if_due();
    }

    fn apply_pages(&mut self, file: &LtxFile, verified: &Verified) -> Result<(), Error> {
        if self.table.page_count() == 0 {
            self.create_from(file, verified)
        } else if self.writer.is_some() || self.mode() == Mode::Wal {
            self.apply_wal(file, verified)
        } else {
            self.apply_rollback(file, verified)
        }
    }

    fn bring_table_up_to(&mut self, verified: &Verified) {
        if self
            .page_size
            .is_some_and(|known| known != verified.header.page_size)
        {
            self.table = Default::default();
        }
        self.table.resize(verified.header.commit);
        for &(pgno, checksum) in &verified.changed {
            self.table.set(pgno, checksum);
        }
        self.page_size = Some(verified.header.page_size);
    }

    /// Calls `each` for the pages of a file of the log that are in `changed`.
    pub(crate) fn for_changed_pages(
        &self,
        file: &LtxFile,
        changed: &ChangedPages,
        mut each: impl FnMut(Pgno, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let what = || file.path().display().to_string();
        let fault = |source| Error::Ltx {
            what: what(),
            source,
        };
        let source: Box<dyn std::io::Read> = match file.bytes() {
            Some(bytes) => Box::new(std::io::Cursor::new(bytes)),
            None => {
                let opened = file.open().map_err(|source| Error::Io {
                    what: format!("open {}", what()),
                    source,
                })?;
                Box::new(std::io::BufReader::with_capacity(256 * 1024, opened))
            }
        };
        let mut reader = ltx::Reader::new(source).map_err(fault)?;
        let mut wanted = changed.iter().peekable();
        let mut page = Vec::new();
        while let Some((pgno, _)) = wanted.peek() {
            match reader.next_page(&mut page).map_err(fault)? {
                Some(read) if read == *pgno => {
                    each(read, &page)?;
                    wanted.next();
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }
}

/// How a database with this page 1 is written.
pub(crate) fn mode_of(page_1: &[u8]) -> Mode {
    match DatabaseHeader::parse(page_1) {
        Ok(header) if header.is_wal() => Mode::Wal,
        Ok(_) => Mode::Rollback,
        Err(_) => Mode::NotSqlite,
    }
}
