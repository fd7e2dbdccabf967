//! The lock bytes of a database file and of its -shm file.
//!
//! Sources: "File Locking And Concurrency In SQLite Version 3" for the database file, "WAL-mode File Format",
//! section "WAL Locks", for the -shm file, and `os_unix.c` for the offsets. On Unix these are POSIX advisory
//! locks of byte ranges; open-file-description locks conflict with them properly.

/// A range of bytes of a file on which a lock is taken. The bytes need not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// The first byte, counted from the start of the file.
    pub start: u64,
    /// The number of bytes.
    pub len: u64,
}

impl LockRange {
    const fn new(start: u64, len: u64) -> LockRange {
        LockRange { start, len }
    }
}

/// Database file: write-locked by a writer that waits for the readers to leave, and while it is EXCLUSIVE;
/// read-locked for an instant by each reader on its way to [`SHARED`], so that no new reader gets past a waiting
/// writer. Its page is never used by SQLite ("the lock-byte page").
pub const PENDING: LockRange = LockRange::new(0x4000_0000, 1);

/// Database file: write-locked from the first change of a rollback-mode transaction until its end. Readers may
/// come and go meanwhile.
pub const RESERVED: LockRange = LockRange::new(0x4000_0001, 1);

/// Database file: read-locked during each rollback-mode read transaction, and for as long as it is open by each
/// WAL-mode connection. Write-locked (together with [`PENDING`]) by whoever is EXCLUSIVE: a
/// rollback-mode writer that changes the file, the last WAL connection when it closes, `locking_mode=EXCLUSIVE`.
pub const SHARED: LockRange = LockRange::new(0x4000_0002, 510);

/// -shm file: write-locked by the one writer of the log, from the start of its write transaction to its end; by
/// a log reset; and by whoever runs recovery. Also guards the growth of the -shm file.
pub const WAL_WRITE: LockRange = LockRange::new(120, 1);

/// -shm file: write-locked by a checkpointer for the whole checkpoint, and during recovery.
/// Not taken by the checkpoint of the last connection to close, nor in `locking_mode=EXCLUSIVE`.
pub const WAL_CKPT: LockRange = LockRange::new(121, 1);

/// -shm file: write-locked while the wal-index is rebuilt from the log. Readers that find no valid header take
/// it shared to wait for the end of that.
pub const WAL_RECOVER: LockRange = LockRange::new(122, 1);

/// -shm file: the lock byte of read mark `slot`, 0 to 4.
///
/// Read-locked during a WAL-mode read transaction. Slot 0: the reader uses the database file alone, the log was
/// wholly backfilled when it began; it holds off a checkpoint, not a restart of the log. Slots 1 to 4: the
/// reader uses the log up to its read mark; it holds off a restart, and the backfill of later frames.
/// Write-locked for an instant by whoever changes that read mark; slot 0 by a checkpointer while it backfills,
/// slots 1 to 4 together ([`WAL_READ_1_4`]) by a restart of the log.
///
/// # Panics
///
/// If `slot` is above 4.
pub const fn wal_read(slot: usize) -> LockRange {
    assert!(slot < 5, "a wal-index has read marks 0 to 4");
    LockRange::new(123 + slot as u64, 1)
}

/// -shm file: the read marks 1 to 4 as one range, write-locked by a writer or checkpointer that restarts the
/// log: having it proves that no reader uses the log.
pub const WAL_READ_1_4: LockRange = LockRange::new(124, 4);

/// -shm file, the "dead man switch": read-locked by each process for as long as it has the -shm file open.
/// An opener that can write-lock it is the first: it cuts the file down to 3 bytes, so that a stale index is
/// never believed, and then read-locks it.
pub const WAL_DMS: LockRange = LockRange::new(128, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_os_unix() {
        assert_eq!((PENDING.start, PENDING.len), (1 << 30, 1));
        assert_eq!(RESERVED.start, PENDING.start + PENDING.len);
        assert_eq!((SHARED.start, SHARED.len), (PENDING.start + 2, 510));
        assert_eq!((wal_read(0).start, wal_read(4).start), (123, 127));
        assert_eq!(WAL_READ_1_4.start, wal_read(1).start);
        assert_eq!(WAL_READ_1_4.start + WAL_READ_1_4.len, WAL_DMS.start);
    }
}
