//! When the content of a database is not that of the end of its log.
//!
//! - It is that of an earlier position: the log has more than SQLite kept (a power failure, a death between the log
//!   and the database). The rest of the log is applied again. Not if a part of a transaction over several databases
//!   was undone: the others have undone theirs.
//! - It is torn: a transaction of the store's own (a replica's apply, an import) was being written. The newest
//!   versions of pages in the log are laid over it; that counts only if the checksum of the end comes out.
//! - It is ahead, on the primary: SQLite kept commits that were not captured. They become the next transaction. (Only
//!   a lease holder mints transactions from a comparison.) On a node that was the primary and is no longer they go to
//!   `aside/`.
//! - Else a replica waits for a snapshot, and nobody may read what it has.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ltx::Pos;

use super::Found;
use super::journal::Played;
use super::replay::{self, Compared, Overlay};
use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::incarnation;
use crate::incoming::Incoming;
use crate::layout::remove_if_exists;
use crate::log::LtxFile;
use crate::name::FileKind;
use crate::role::Role;
use crate::status::Mode;
use crate::table::ChecksumTable;
use crate::transaction::{ChangedPages, Extent, Transaction};
use crate::view::{pages_of, read_page};

/// What a replica says of a database that it cannot show.
const WAITING: &str = "its content is not that of its log: waiting for a snapshot of the primary";

impl Core {
    /// Brings content and position together. Before anything is mounted.
    pub(crate) fn settle(&mut self, role: &Role) -> Result<(), Error> {
        if matches!(role, Role::Replica { .. }) {
            // Zeroed by PERSIST, or emptied by TRUNCATE: nobody here may use it.
            remove_if_exists(&self.dir().file(FileKind::Journal))?;
        }
        let result = self.settle_content(role);
        // Nothing may be captured from a state that is not known.
        self.settled &= result.is_ok();
        if matches!(role, Role::Replica { .. }) && self.mode() == Mode::Wal {
            self.dir()
                .make_log_files(&self.dir().file(FileKind::Database))?;
        }
        result
    }

    fn settle_content(&mut self, role: &Role) -> Result<(), Error> {
        if self.settled || matches!(role, Role::None) {
            return Ok(());
        }
        self.settled = true;
        let found = self.found.take();
        let (base, played) =
            found.map_or((None, Played::Nothing), |found| (found.base, found.played));
        let files = self.shared.log.read().files();
        let broken = self.is_broken();
        let Compared { at_end, exact } =
            replay::compare(base, &files, self.pos(), &self.table).unwrap_or_else(|error| {
                tracing::warn!(database = %self.name(), error = error.chain(), "the log cannot be used");
                Compared::default()
            });
        if exact == Some(files.len()) && !broken {
            return Ok(());
        }
        let end = files.last().map(LtxFile::post_pos);
        let own_write = incarnation::read_hex(&self.dir().unfinished())?;
        let torn = own_write.is_some() && own_write == end.map(|pos| pos.txid.get());
        if !role.is_primary() && self.env().was_primary && exact.is_none() && !broken && !torn {
            self.put_content_aside(at_end.clone(), &files)?;
        }
        let usable = match exact {
            _ if !role.is_primary() || torn || broken => &files[..],
            Some(skipped) if played != Played::UndoneOfSeveral => &files[skipped..],
            _ => &[],
        };
        if self.follow_log(usable, at_end.as_ref(), broken)? {
            return Ok(());
        }
        match role {
            _ if broken && role.is_primary() => self.refuse_broken(),
            Role::Primary { .. } => self.mint_content(at_end, &files)?,
            _ => self.wait_for_snapshot(),
        }
        Ok(())
    }

    /// What SQLite would not read: no header, or shorter than its header says.
    fn is_broken(&self) -> bool {
        !matches!(self.mode(), Mode::Wal | Mode::Rollback) || self.short
    }

    fn refuse_broken(&mut self) {
        let path = self.dir().file(FileKind::Database);
        tracing::error!(database = %self.name(), path = %path.display(), pos = %self.pos(),
            "is no longer a SQLite database, and its log does not have all of its pages: left alone and not replicated");
        self.set_mode(Mode::NotSqlite);
        self.page_size = None;
        self.table = ChecksumTable::default();
    }

    fn wait_for_snapshot(&mut self) {
        tracing::warn!(database = %self.name(), pos = %self.pos(), "{WAITING}");
        self.shared.set_pos(Pos::EMPTY);
        if self.is_broken() {
            // It comes as a new file.
            self.page_size = None;
            self.table = ChecksumTable::default();
            self.set_mode(Mode::Empty);
        }
        self.shared
            .unreadable
            .store(true, std::sync::atomic::Ordering::Release);
        self.shared
            .update(|state| state.latched = Some(WAITING.into()));
        self.latched = Some(crate::capture::LatchKind::Apply);
    }

    /// Nothing is mounted yet: takes into the log a transaction that a replica has and this node lost. The content is
    /// settled when all of them are there: it may be that of any of them.
    pub(crate) fn take_tail(&mut self, mut incoming: Incoming) -> Result<Pos, Error> {
        let begins = self.env().role().is_primary();
        if begins && !self.env().is_primary() && self.settled {
            return self.apply_received(incoming);
        }
        if self.env().is_mounted() || !begins {
            return Err(Error::Io {
                what: format!("database {}: take in what a replica has", self.name()),
                source: std::io::Error::other("applications may be writing already"),
            });
        }
        let (header, trailer) = incoming.read_through(self.name())?;
        let pos = self.pos();
        if header.is_snapshot() || header.pre_pos() != pos {
            return Err(Error::PositionMismatch {
                db: self.name().clone(),
                expected: header.pre_pos(),
                actual: pos,
            });
        }
        if self.settled {
            // The table is that of the position: from there the log goes on.
            self.found = Some(Found {
                base: Some((self.table.clone(), pos)),
                played: Played::Nothing,
            });
            self.settled = false;
        }
        self.store_file(incoming.spool, &header, &trailer)?;
        let pos = Pos {
            txid: header.max_txid,
            checksum: trailer.post_apply_checksum,
        };
        self.shared.set_pos(pos);
        Ok(pos)
    }

    /// Writes what the content lacks of the end of the log. `false` if these files do not lead there.
    fn follow_log(
        &mut self,
        files: &[LtxFile],
        at_end: Option<&ChecksumTable>,
        keep_old: bool,
    ) -> Result<bool, Error> {
        let overlay = match replay::lay_over(&self.table, self.page_size, files, at_end) {
            Ok(Some(overlay)) => overlay,
            Ok(None) => return Ok(false),
            Err(error) => {
                tracing::warn!(database = %self.name(), error = error.chain(), "the log cannot be used");
                return Ok(false);
            }
        };
        let Some(last) = files.last() else {
            return Ok(false);
        };
        let path = self.dir().file(FileKind::Database);
        if keep_old && path.exists() {
            crate::aside::copy_file_aside(self.env(), self.name(), &path, "broken")?;
        }
        // From here to the end it is torn.
        let marker = self.dir().unfinished();
        incarnation::write_hex(&marker, last.max_txid.get())?;
        self.write_overlay(&overlay)?;
        self.moved_to(last.post_pos(), last.timestamp_ms);
        remove_if_exists(&marker)?;
        tracing::info!(database = %self.name(), pos = %self.pos(), "brought the database to the end of its log");
        Ok(true)
    }

    fn write_overlay(&mut self, overlay: &Overlay) -> Result<(), Error> {
        let header = &overlay.header;
        let path = self.dir().file(FileKind::Database);
        let database = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .during("open", &path)?;
        let mut mode = self.mode();
        if self.page_size != Some(header.page_size) {
            self.table = ChecksumTable::default();
        }
        self.table.resize(header.commit);
        for (file, pages) in &overlay.parts {
            self.for_changed_pages(file, pages, |pgno, page| {
                if pgno == ltx::Pgno::FIRST {
                    mode = crate::apply::mode_of(page);
                }
                database
                    .write_all_at(page, header.page_size.offset(pgno))
                    .during("write", &path)
            })?;
            for &(pgno, checksum) in pages {
                self.table.set(pgno, checksum);
            }
        }
        database
            .set_len(u64::from(header.commit) * u64::from(header.page_size.get()))
            .during("resize", &path)?;
        database.sync_all().during("sync", &path)?;
        self.page_size = Some(header.page_size);
        self.short = false;
        self.set_mode(mode);
        Ok(())
    }

    /// The content becomes the next transaction.
    fn mint_content(
        &mut self,
        at_end: Option<ChecksumTable>,
        files: &[LtxFile],
    ) -> Result<(), Error> {
        if self.page_size.is_none() || self.table.page_count() == 0 {
            return Ok(());
        }
        let transaction = self.encode_content(at_end, files)?;
        let pos = self.publish(transaction)?;
        tracing::info!(database = %self.name(), %pos, "the content was ahead of the log: made a transaction of it");
        Ok(())
    }

    /// The content of a node that is no longer the primary: what others will never see.
    fn put_content_aside(
        &mut self,
        at_end: Option<ChecksumTable>,
        files: &[LtxFile],
    ) -> Result<(), Error> {
        let content = self.table.clone();
        let transaction = self.encode_content(at_end, files);
        self.table = content;
        crate::aside::put_transaction_aside(self.env(), self.name(), transaction?)
    }

    /// The content as the transaction that follows on the log: the pages that differ from the table at its end, or all
    /// if that cannot be known. Leaves the table of the end of the log behind, for [`Core::publish`].
    fn encode_content(
        &mut self,
        at_end: Option<ChecksumTable>,
        files: &[LtxFile],
    ) -> Result<Transaction, Error> {
        let Some(page_size) = self.page_size else {
            return Err(Error::UnknownDatabase(self.name().clone()));
        };
        let page_count = self.table.page_count();
        let path = self.dir().file(FileKind::Database);
        let file = File::open(&path).during("open", &path)?;
        let same_size = files.last().is_none_or(|last| last.page_size == page_size);
        let at_end = at_end.filter(|_| same_size && !self.pos().txid.is_zero());
        let extent = if at_end.is_some() {
            Extent::Commits(1)
        } else {
            Extent::Snapshot
        };
        let pages: ChangedPages = pages_of(page_size, page_count)
            .map(|pgno| (pgno, self.table.get(pgno)))
            .filter(|(pgno, sum)| at_end.as_ref().is_none_or(|end| end.get(*pgno) != *sum))
            .collect();
        self.table = at_end.unwrap_or_default();
        self.encode(extent, page_size, page_count, pages, |pgno, page| {
            read_page(&file, page_size.offset(pgno), page_size, page).during("read", &path)
        })
    }
}
