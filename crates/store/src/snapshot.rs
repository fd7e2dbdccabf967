//! A consistent copy of a whole database, on its way to somebody.

use std::io::Write;

use ltx::{Checksum, PageSize, Pos, TxId};

use crate::capture::Occasion;
use crate::core::Core;
use crate::error::Error;
use crate::name::DbName;
use crate::status::Mode;
use crate::transaction::unix_ms;
use crate::view::View;

/// A view of the database at one position. Holds SQLite's locks until it is dropped: readers, and in WAL mode
/// writers, go on meanwhile; checkpoints wait.
pub struct Snapshot {
    db: DbName,
    pos: Pos,
    node_id: u64,
    view: View,
}

impl Core {
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let (db, node_id) = (self.name().clone(), self.env().node_id);
        if self.table.page_count() == 0 {
            self.capture(Occasion::Wake)?;
        }
        if self.table.page_count() == 0 {
            return Err(Error::UnknownDatabase(db));
        }
        let view = match self.mode() {
            Mode::Wal => {
                let (view, index) = View::of_wal(self.env(), self.name(), self.dir())?;
                // The view is of the commits up to this frame, whatever is committed meanwhile.
                self.capture_up_to(&index)?;
                view
            }
            _ => {
                self.capture(Occasion::Wake)?;
                View::of_rollback(self.env(), self.name(), self.dir())?
            }
        };
        Ok(Snapshot {
            db,
            pos: self.pos(),
            node_id,
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
