//! A consistent copy of a whole database, on its way to somebody.

use std::io::Write;

use ltx::{Checksum, PageSize, Pos, TxId};

use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::Error;
use crate::name::DbName;
use crate::transaction::unix_ms;
use crate::view::{Locked, View};

/// A view of the database at one position. Holds SQLite's locks until it is dropped: readers, and in WAL mode
/// writers, go on meanwhile; checkpoints wait.
pub struct Snapshot {
    db: DbName,
    pos: Pos,
    node_id: u64,
    view: View,
}

impl Database {
    /// A consistent reader of the whole database. Waits for SQLite's locks and for the strand; holds the locks until it
    /// is dropped.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let shared = &self.shared;
        if shared.state().page_count == 0 && self.drain()?.txid.is_zero() {
            return Err(Error::UnknownDatabase(shared.name.clone()));
        }
        if !self.is_readable() {
            return Err(Error::Unreadable(shared.name.clone()));
        }
        // The locks are taken here and not on the strand: a writer who holds them may be waiting for the strand.
        let _own = shared.env.own.enter();
        let locked = self.lock_as_reader()?;
        self.call(move |core| core.snapshot(locked))?
    }
}

impl Core {
    fn snapshot(&mut self, locked: Locked) -> Result<Snapshot, Error> {
        let (view, index) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
        match index {
            // The view is of the commits up to this frame, whatever is committed meanwhile.
            Some(index) => self.capture_up_to(&index)?,
            None => self.capture(Occasion::Wake)?,
        }
        Ok(Snapshot {
            db: self.name().clone(),
            pos: self.pos(),
            node_id: self.env().node_id,
            view,
        })
    }
}

impl Snapshot {
    /// The position that it is a copy of.
    pub fn pos(&self) -> Pos {
        self.pos
    }

    /// Page size of the database.
    pub fn page_size(&self) -> PageSize {
        self.view.page_size()
    }

    /// Pages of the database.
    pub fn page_count(&self) -> u32 {
        self.view.page_count()
    }

    /// Size of the database in bytes.
    pub fn database_size(&self) -> u64 {
        u64::from(self.page_count()) * u64::from(self.page_size().get())
    }

    /// Writes it as an LTX snapshot file: TXIDs 1 to that of the position.
    pub fn write_ltx(&mut self, w: impl Write) -> Result<(), Error> {
        let view = &self.view;
        let header = ltx::Header {
            page_size: view.page_size(),
            commit: view.page_count(),
            min_txid: TxId::new(1),
            max_txid: self.pos.txid,
            timestamp_ms: unix_ms(),
            pre_apply_checksum: Checksum::NONE,
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: self.node_id,
        };
        let fault = |source| Error::Ltx {
            what: format!("database {}: encode a snapshot", self.db),
            source,
        };
        let mut writer = ltx::Writer::new(w, header).map_err(fault)?;
        let mut page = Vec::new();
        let mut sum = Checksum::EMPTY;
        for pgno in view.pages() {
            view.read(pgno, &mut page)?;
            sum = sum.toggled(ltx::page_checksum(pgno, &page));
            writer.write_page(pgno, &page).map_err(fault)?;
        }
        self.check(sum)?;
        writer.finish(sum).map_err(fault)?;
        Ok(())
    }

    /// Writes it as the database file that SQLite would leave after a checkpoint.
    pub fn write_database(&mut self, mut w: impl Write) -> Result<(), Error> {
        let view = &self.view;
        let fault = |source| Error::Io {
            what: format!("database {}: write a copy", self.db),
            source,
        };
        let lock_page = view.page_size().lock_page();
        let mut page = Vec::new();
        let mut sum = Checksum::EMPTY;
        for pgno in (1..=view.page_count()).filter_map(ltx::Pgno::new) {
            if pgno == lock_page {
                // SQLite never uses this page; replicas do not have what may stand there.
                page.resize(view.page_size().bytes(), 0);
                page.fill(0);
            } else {
                view.read(pgno, &mut page)?;
                sum = sum.toggled(ltx::page_checksum(pgno, &page));
            }
            w.write_all(&page).map_err(fault)?;
        }
        self.check(sum)
    }

    /// What was read must be what the position stands for.
    fn check(&self, sum: Checksum) -> Result<(), Error> {
        if sum == self.pos.checksum {
            return Ok(());
        }
        Err(Error::PostApplyMismatch {
            db: self.db.clone(),
            txid: self.pos.txid,
            expected: self.pos.checksum,
            actual: sum,
        })
    }
}
