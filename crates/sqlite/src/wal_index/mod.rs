//! The wal-index: the -shm file, mapped and shared by all processes that use a WAL-mode database.
//!
//! Source: "WAL-mode File Format", section "The WAL-Index Format", and SQLite's `wal.c`. The file consists of
//! blocks of 32 KiB. The first begins with a header of 136 bytes: two copies of a [`WalIndexHeader`], the
//! [`CheckpointInfo`] and the lock bytes of [`crate::lock`]. The rest of each block is an array of the page
//! numbers of successive frames and a hash table over it. Integers are in the host's byte order.
//!
//! # Locks
//!
//! [`WalIndex`] takes no lock; each method names those that its caller must hold, all on the -shm file unless
//! it says otherwise:
//!
//! * [`WAL_DMS`](crate::lock::WAL_DMS) shared, from before [`WalIndex::open`] until the `WalIndex` is dropped.
//!   Access to a mapped page behind the end of the file is a SIGBUS, which kills the process. The one thing that
//!   shortens a -shm file is the first opener's truncation to 3 bytes, and SQLite does that only under the
//!   exclusive lock of this byte. (The file can still be *unlinked*, by the last connection to close; this is
//!   kept out with `SHARED` on the *database* file.) Whoever has it first owes the file that truncation, under the
//!   exclusive lock: as long as anybody holds the byte, SQLite believes an index that a crash has left behind.
//! * [`WAL_WRITE`](crate::lock::WAL_WRITE) exclusive for every method that changes or extends the index, except
//!   [`WalIndex::set_read_mark`]. It keeps out other writers and, once granted, recovery.
//! * A read mark, or `WAL_WRITE`, for the look-up of frames: otherwise a restart of the log can reuse their
//!   entries. [`WalIndex::header`] alone needs neither.

mod block;
mod blocks;
mod checkpoint;
mod header;
mod index;

pub use checkpoint::{CheckpointInfo, READ_MARK_NOT_USED, READ_MARKS};
pub use header::WalIndexHeader;
pub use index::{Access, IndexState, WalIndex};
