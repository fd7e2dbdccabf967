//! From changed pages to an LTX file in the log: where every captured transaction, of whatever journal mode, and
//! every transaction that the store itself makes (import, repair) passes through.

use std::io::Write;

use ltx::{Checksum, Pgno, Pos, TxId};

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::events::Event;
use crate::log::LtxFile;
use crate::spool::Spool;
use crate::table::ChecksumTable;

/// Pages that changed, ascending, with the checksums of their new content.
pub(crate) type ChangedPages = Vec<(Pgno, Checksum)>;

/// Which transactions a file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many commits after the present position.
    Commits(u64),
    /// One commit, written as a snapshot that stands for all before it too: the page size changed, or what was
    /// before is not known.
    Snapshot,
}

/// A transaction that is encoded but not published.
pub(crate) struct Transaction {
    spool: Spool,
    header: ltx::Header,
    trailer: ltx::Trailer,
    pages: ChangedPages,
}

impl Transaction {
    /// The name that its LTX file has.
    pub(crate) fn file_name(&self) -> String {
        ltx::file_name(self.header.min_txid, self.header.max_txid)
    }

    pub(crate) fn max_txid(&self) -> TxId {
        self.header.max_txid
    }

    /// Does everything that needs space on the disk, so that [`Core::publish`] only renames a file.
    pub(crate) fn spill(&mut self) -> Result<(), Error> {
        self.spool.spill()
    }

    /// Writes the file to a place that is not the log, durably.
    pub(crate) fn place(self, path: &std::path::Path) -> Result<(), Error> {
        self.spool.place(path)?;
        std::fs::File::open(path)
            .and_then(|file| file.sync_all())
            .during("sync", path)?;
        path.parent().map_or(Ok(()), crate::layout::sync_directory)
    }
}

impl Core {
    /// Encodes a transaction: `pages` of a database that is `page_count` pages long afterwards, read by `read`.
    ///
    /// A page is read twice, when its checksum was taken and now; if somebody wrote it in between, that is an error
    /// and nothing is published.
    pub(crate) fn encode(
        &self,
        extent: Extent,
        page_size: ltx::PageSize,
        page_count: u32,
        pages: ChangedPages,
        mut read: impl FnMut(Pgno, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Transaction, Error> {
        let pos = self.pos();
        // A file that begins at TXID 1 is a snapshot by definition.
        let snapshot = extent == Extent::Snapshot || pos.txid.is_zero();
        let commits = if let Extent::Commits(commits) = extent {
            commits
        } else {
            1
        };
        let max_txid = TxId::new(pos.txid.get() + commits);
        let header = ltx::Header {
            page_size,
            commit: page_count,
            min_txid: if snapshot {
                TxId::new(1)
            } else {
                pos.txid.next()
            },
            max_txid,
            timestamp_ms: unix_ms(),
            pre_apply_checksum: if snapshot {
                Checksum::NONE
            } else {
                pos.checksum
            },
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: self.env().node_id,
        };
        // A snapshot has all pages; what the table says of pages of another size is void.
        let empty = ChecksumTable::default();
        let table = if snapshot { &empty } else { &self.table };
        let post = table.sum_after(pages.iter().copied(), page_count);
        let ltx_dir = self.dir().ltx();
        let mut writer =
            ltx::Writer::new(Spool::new(&ltx_dir), header).map_err(|e| self.ltx_error(e))?;
        writer = writer.with_compression(self.env().compression());
        let mut page = Vec::with_capacity(page_size.bytes());
        for &(pgno, checksum) in &pages {
            read(pgno, &mut page)?;
            if ltx::page_checksum(pgno, &page) != checksum {
                return Err(Error::BadFile {
                    path: self.dir().path().to_owned(),
                    reason: format!("page {pgno} changed while it was captured"),
                });
            }
            writer
                .write_page(pgno, &page)
                .map_err(|e| self.ltx_error(e))?;
        }
        let (mut spool, trailer) = writer.finish(post).map_err(|e| self.ltx_error(e))?;
        spool.flush().map_err(|source| Error::Io {
            what: format!("write to {}", ltx_dir.display()),
            source,
        })?;
        Ok(Transaction {
            spool,
            header,
            trailer,
            pages,
        })
    }

    /// Puts the file into the log, brings the table up to date, moves the position and tells the observers.
    pub(crate) fn publish(&mut self, transaction: Transaction) -> Result<Pos, Error> {
        let Transaction {
            spool,
            header,
            trailer,
            pages,
        } = transaction;
        let pos = Pos {
            txid: header.max_txid,
            checksum: trailer.post_apply_checksum,
        };
        self.store_own_file(spool, &header, &trailer)?;
        self.table.resize(header.commit);
        for (pgno, checksum) in pages {
            self.table.set(pgno, checksum);
        }
        debug_assert_eq!(self.table.sum(), pos.checksum);
        self.page_size = Some(header.page_size);
        self.moved_to(pos, header.timestamp_ms);
        Ok(pos)
    }

    /// A transaction that this node made: the first one of a term begins a chapter of the history.
    pub(crate) fn store_own_file(
        &self,
        spool: Spool,
        header: &ltx::Header,
        trailer: &ltx::Trailer,
    ) -> Result<(), Error> {
        let term = self.env().term();
        let pos = self.pos();
        if self.shared.history.read().epoch() < term {
            let mut history = self.shared.history.read().clone();
            history.begin_at(term, pos);
            history.save(&self.dir().history())?;
            *self.shared.history.write() = history;
        }
        self.store_file(spool, header, trailer)
    }

    /// Puts an LTX file in place and into the index of the log.
    pub(crate) fn store_file(
        &self,
        spool: Spool,
        header: &ltx::Header,
        trailer: &ltx::Trailer,
    ) -> Result<(), Error> {
        let path = self
            .dir()
            .ltx()
            .join(ltx::file_name(header.min_txid, header.max_txid));
        let size = spool.len();
        // After a crash of the machine there may be one of that name that could not be read.
        if self.shared.log.read().has_stranger(&path) {
            crate::aside::put_file_aside(self.env(), self.name(), &path)?;
            self.shared.log.write().forget_stranger(&path);
        }
        let bytes = spool.place(&path)?;
        let file = LtxFile::new(path, header, trailer, size).with_bytes(bytes);
        let replaced = self.shared.log.write().push(file);
        for old in replaced {
            // The file is in place; what it replaced is only in the way of the next start, which will say so.
            if let Err(error) = crate::layout::remove_if_exists(old.path()) {
                tracing::warn!(database = %self.name(), error = error.chain(), "replaced LTX file stays");
            }
        }
        Ok(())
    }

    /// The position moved: everybody who waits for it may look.
    pub(crate) fn moved_to(&mut self, pos: Pos, timestamp_ms: i64) {
        self.shared.set_pos(pos);
        self.shared
            .note_page_count(self.table.page_count(), self.page_size, timestamp_ms);
        if let Some(db) = self.database() {
            self.env().notify(&Event::Committed { db, pos });
        }
    }

    fn ltx_error(&self, source: ltx::Error) -> Error {
        Error::Ltx {
            what: format!("database {}: encode a transaction", self.name()),
            source,
        }
    }
}

/// Now, in Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
