//! The page-checksum table: for each page of a database its LTX page checksum, and their XOR, the database's
//! checksum. It is what makes a position cheap: a transaction costs its own pages and never the whole database.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ltx::{Checksum, Pgno, Pos, TxId};

use crate::error::{Error, IoContext};
use crate::layout;

/// Checksums by page. 8 bytes a page. The lock page and pages that do not exist have [`Checksum::NONE`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChecksumTable {
    pages: Vec<u64>,
    sum: Checksum,
}

impl Default for ChecksumTable {
    fn default() -> Self {
        ChecksumTable {
            pages: Vec::new(),
            sum: Checksum::EMPTY,
        }
    }
}

impl ChecksumTable {
    /// Pages in the database.
    pub(crate) fn page_count(&self) -> u32 {
        // Only ever grown through Pgno, which is a u32.
        self.pages.len() as u32
    }

    /// The checksum of the whole database.
    pub(crate) fn sum(&self) -> Checksum {
        self.sum
    }

    /// The checksum of a page; NONE if there is no such page.
    pub(crate) fn get(&self, pgno: Pgno) -> Checksum {
        Checksum::from_raw(self.pages.get(pgno.index()).copied().unwrap_or(0))
    }

    /// Replaces the checksum of a page; the table grows to hold it.
    pub(crate) fn set(&mut self, pgno: Pgno, checksum: Checksum) {
        if self.pages.len() <= pgno.index() {
            self.pages.resize(pgno.index() + 1, 0);
        }
        let old = std::mem::replace(&mut self.pages[pgno.index()], checksum.get());
        self.sum = toggle(toggle(self.sum, old), checksum.get());
    }

    /// Cuts the table off after `page_count` pages, or fills it up with pages without a checksum.
    pub(crate) fn resize(&mut self, page_count: u32) {
        for &gone in self.pages.iter().skip(page_count as usize) {
            self.sum = toggle(self.sum, gone);
        }
        self.pages.resize(page_count as usize, 0);
    }

    /// The database's checksum if `changed` replaced the pages it names and the database were `page_count` pages
    /// long. The table stays as it is.
    pub(crate) fn sum_after(
        &self,
        changed: impl Iterator<Item = (Pgno, Checksum)>,
        page_count: u32,
    ) -> Checksum {
        let mut sum = self.sum;
        for &gone in self.pages.iter().skip(page_count as usize) {
            sum = toggle(sum, gone);
        }
        for (pgno, checksum) in changed.filter(|(pgno, _)| pgno.get() <= page_count) {
            sum = toggle(toggle(sum, self.get(pgno).get()), checksum.get());
        }
        sum
    }
}

fn toggle(sum: Checksum, page: u64) -> Checksum {
    // A page without a checksum contributes nothing.
    if page == 0 {
        sum
    } else {
        sum.toggled(Checksum::from_raw(page))
    }
}

/// What a saved table is a table of: it is only good for exactly this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    size: u64,
    mtime_ns: i128,
    inode: u64,
}

impl FileStamp {
    /// That of no file.
    pub(crate) const NONE: FileStamp = FileStamp {
        size: 0,
        mtime_ns: 0,
        inode: 0,
    };

    pub(crate) fn of(path: &Path) -> Result<FileStamp, Error> {
        let meta = std::fs::metadata(path).during("stat", path)?;
        let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(FileStamp {
            size: meta.len(),
            mtime_ns,
            inode: meta.ino(),
        })
    }
}

/// File: magic with version, stamp (size, mtime, inode), TXID, number of pages, the checksums, CRC-32 of all before.
/// All little-endian.
const MAGIC: &[u8; 8] = b"LFSTABL1";
const FIXED: usize = 8 + 8 + 16 + 8 + 8 + 4;

/// Saves a table, with the stamp of the file as it is now. At a clean stop the file must be synced before: the table
/// vouches for its content then.
pub(crate) fn save(
    path: &Path,
    table: &ChecksumTable,
    txid: TxId,
    stamp: FileStamp,
) -> Result<(), Error> {
    let mut bytes = Vec::with_capacity(FIXED + table.pages.len() * 8 + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&stamp.size.to_le_bytes());
    bytes.extend_from_slice(&stamp.mtime_ns.to_le_bytes());
    bytes.extend_from_slice(&stamp.inode.to_le_bytes());
    bytes.extend_from_slice(&txid.get().to_le_bytes());
    bytes.extend_from_slice(&table.page_count().to_le_bytes());
    for page in &table.pages {
        bytes.extend_from_slice(&page.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    layout::write_durably(path, &bytes)
}

/// A table that was saved once.
pub(crate) struct SavedTable {
    pub(crate) table: ChecksumTable,
    /// The position that it is the table of.
    pub(crate) pos: Pos,
    /// The file that it was the table of.
    pub(crate) stamp: FileStamp,
}

/// Loads a saved table. `None` if there is none that is whole.
pub(crate) fn load(path: &Path) -> Option<SavedTable> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32fast::hash(body) != u32::from_le_bytes(crc.try_into().ok()?) || !body.starts_with(MAGIC)
    {
        return None;
    }
    let mut fields = Fields(body.get(8..)?);
    let saved = FileStamp {
        size: u64::from_le_bytes(fields.take()?),
        mtime_ns: i128::from_le_bytes(fields.take()?),
        inode: u64::from_le_bytes(fields.take()?),
    };
    let txid = TxId::new(u64::from_le_bytes(fields.take()?));
    let page_count = u32::from_le_bytes(fields.take()?);
    if fields.0.len() != page_count as usize * 8 {
        return None;
    }
    let mut table = ChecksumTable::default();
    for page in fields.0.chunks_exact(8) {
        let page = u64::from_le_bytes(page.try_into().ok()?);
        table.pages.push(page);
        table.sum = toggle(table.sum, page);
    }
    let checksum = table.sum;
    Some(SavedTable {
        table,
        pos: Pos { txid, checksum },
        stamp: saved,
    })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pgno(n: u32) -> Pgno {
        Pgno::new(n).unwrap()
    }

    fn sum(n: u64) -> Checksum {
        Checksum::from_raw(1 << 63 | n)
    }

    #[test]
    fn sum_after_tells_what_set_and_resize_will_give() {
        let mut table = ChecksumTable::default();
        for n in 1..=5 {
            table.set(pgno(n), sum(u64::from(n) * 77));
        }
        let changes = [(pgno(2), sum(1000)), (pgno(5), sum(3)), (pgno(4), sum(9))];
        let told = table.sum_after(changes.iter().copied(), 4);
        table.resize(4);
        for (pgno, checksum) in changes {
            if pgno.get() <= 4 {
                table.set(pgno, checksum);
            }
        }
        assert_eq!(table.sum(), told);
        assert_ne!(told, Checksum::EMPTY);
        table.resize(0);
        assert_eq!(table.sum(), Checksum::EMPTY);
    }

    #[test]
    fn a_saved_table_comes_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (db, path) = (dir.path().join("database"), dir.path().join("table"));
        std::fs::write(&db, b"x").unwrap();
        let stamp = FileStamp::of(&db).unwrap();
        let mut table = ChecksumTable::default();
        table.set(pgno(3), sum(5));
        save(&path, &table, TxId::new(9), stamp).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!((loaded.table, loaded.pos.txid), (table, TxId::new(9)));
        assert_eq!(loaded.stamp, stamp);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(load(&path).is_none());
    }
}
