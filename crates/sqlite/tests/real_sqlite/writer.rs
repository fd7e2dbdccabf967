//! A WAL writer that is not SQLite, made of what the crate offers.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ltx::{PageSize, Pgno};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sqlite::lock::{self, LockRange};
use sqlite::wal::{FrameChain, Salts, WalHeader, frame_offset};
use sqlite::wal_index::{Access, CheckpointInfo, WalIndex, WalIndexHeader};

use crate::python::companion;

/// Open-file-description locks of the -shm file.
fn lock(file: &File, range: LockRange, kind: i32, wait: bool) -> nix::Result<i32> {
    let request = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: range.start as i64,
        l_len: range.len as i64,
        l_pid: 0,
    };
    fcntl(
        file,
        if wait {
            FcntlArg::F_OFD_SETLKW(&request)
        } else {
            FcntlArg::F_OFD_SETLK(&request)
        },
    )
}

pub(crate) fn read_write(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Opens the wal-index of a database that SQLite has open.
pub(crate) fn open_index(database: &Path, access: Access) -> WalIndex {
    let path = companion(database, "-shm");
    let file = if access == Access::ReadOnly {
        File::open(&path).unwrap()
    } else {
        read_write(&path)
    };
    lock(&file, lock::WAL_DMS, libc::F_RDLCK, false).unwrap();
    WalIndex::open(file, access).unwrap()
}

pub(crate) struct Writer {
    pub(crate) index: WalIndex,
    wal: File,
    page_size: PageSize,
    restarts: u32,
}

impl Writer {
    pub(crate) fn open(database: &Path, page_size: PageSize) -> Writer {
        let index = open_index(database, Access::ReadWrite);
        Writer {
            index,
            wal: read_write(&companion(database, "-wal")),
            page_size,
            restarts: 0,
        }
    }

    fn lock(&self, range: LockRange) {
        lock(self.index.file(), range, libc::F_WRLCK, true).unwrap();
    }

    fn try_lock(&self, range: LockRange) -> bool {
        lock(self.index.file(), range, libc::F_WRLCK, false).is_ok()
    }

    fn unlock(&self, range: LockRange) {
        lock(self.index.file(), range, libc::F_UNLCK, false).unwrap();
    }

    /// Appends a transaction.
    pub(crate) fn apply(&mut self, pages: &BTreeMap<Pgno, Vec<u8>>, page_count: u32) {
        self.lock(lock::WAL_WRITE);
        let header = self.write(pages, page_count);
        self.index.publish(&header);
        self.unlock(lock::WAL_WRITE);
    }

    /// Appends a transaction and dies before its commit becomes visible; its commit frame is left out, too.
    pub(crate) fn abandon(&mut self, pages: &BTreeMap<Pgno, Vec<u8>>) {
        self.lock(lock::WAL_WRITE);
        self.write(pages, 0);
        self.unlock(lock::WAL_WRITE);
    }

    fn write(&mut self, pages: &BTreeMap<Pgno, Vec<u8>>, page_count: u32) -> WalIndexHeader {
        let header = self.index.header().unwrap();
        let mut chain = self.chain(&header);
        self.index
            .reserve(header.mx_frame + pages.len() as u32)
            .unwrap();
        let mut bytes = Vec::new();
        for (position, (&pgno, page)) in pages.iter().enumerate() {
            chain.append(
                pgno,
                if position + 1 == pages.len() {
                    page_count
                } else {
                    0
                },
                page,
                &mut bytes,
            );
        }
        self.wal
            .write_all_at(&bytes, frame_offset(self.page_size, header.mx_frame + 1))
            .unwrap();
        for (frame, &pgno) in (header.mx_frame + 1..).zip(pages.keys()) {
            self.index.append(frame, pgno, header.mx_frame).unwrap();
        }
        WalIndexHeader {
            change: header.change.wrapping_add(1),
            big_endian_checksum: chain.big_endian(),
            page_size: Some(self.page_size),
            mx_frame: chain.frame(),
            page_count,
            frame_checksum: chain.checksum(),
            salts: chain.salts(),
            ..header
        }
    }

    /// Where the log goes on; an empty log gets its header.
    fn chain(&self, header: &WalIndexHeader) -> FrameChain {
        if header.mx_frame > 0 {
            return FrameChain::resume(
                self.page_size,
                header.salts,
                header.big_endian_checksum,
                header.frame_checksum,
                header.mx_frame,
            );
        }
        let salts = if header.salts == Salts::default() {
            Salts { salt1: 5, salt2: 6 }
        } else {
            header.salts
        };
        let wal_header = WalHeader::new(self.page_size, self.restarts, salts);
        self.wal.write_all_at(&wal_header.encode(), 0).unwrap();
        FrameChain::new(&wal_header)
    }

    /// Holds a read mark as a reader does.
    pub(crate) fn hold_read_mark(&mut self, slot: usize, frame: u32) {
        assert!(self.try_lock(lock::wal_read(slot)));
        self.index.set_read_mark(slot, frame);
        lock(
            self.index.file(),
            lock::wal_read(slot),
            libc::F_RDLCK,
            false,
        )
        .unwrap();
    }

    /// Restarts a log that is wholly checkpointed and that no reader uses. Whether it was.
    pub(crate) fn restart(&mut self) -> bool {
        self.lock(lock::WAL_WRITE);
        let header = self.index.header().unwrap();
        let complete =
            header.mx_frame > 0 && self.index.checkpoint_info().backfill == header.mx_frame;
        let restarts =
            complete && self.try_lock(lock::WAL_CKPT) && self.try_lock(lock::WAL_READ_1_4);
        if restarts {
            self.restarts += 1;
            let salts = header.salts.next(self.restarts);
            self.index.publish(&WalIndexHeader {
                mx_frame: 0,
                salts,
                ..header
            });
            self.index.set_checkpoint_info(CheckpointInfo::RESTARTED);
            self.unlock(lock::WAL_READ_1_4);
            self.unlock(lock::WAL_CKPT);
        }
        self.unlock(lock::WAL_WRITE);
        restarts
    }
}
