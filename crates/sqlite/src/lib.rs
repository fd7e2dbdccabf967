//! SQLite's formats on disk and in shared memory, as bytes.
//!
//! Purpose: read and write, without a SQLite library, what SQLite leaves for others to see: the database
//! header ([`header`]), the rollback journal ([`journal`]), the write-ahead log ([`wal`]), the shared-memory
//! index of that log ([`wal_index`]) and the lock bytes of the three files ([`lock`]). The sources are the
//! pages "Database File Format" and "WAL-mode File Format" of SQLite's documentation, and where these are
//! silent the behaviour of SQLite's `pager.c`, `wal.c` and `os_unix.c`.
//!
//! Invariants:
//!
//! * Nothing read from a file or from shared memory is trusted: parsers return an error or `None`, they never
//!   panic, and what they allocate is bounded by constants.
//! * What a parser accepts is what SQLite would accept. A journal record or WAL frame that SQLite would
//!   ignore is not reported as valid.
//! * Stores to the shared wal-index keep SQLite's order, so that a reader in another process sees the old
//!   snapshot or the new one.
//!
//! What this crate must not know: when a transaction is captured or applied, who may commit, LTX files, FUSE,
//! threads, and how locks are waited for. It takes no lock: each method of [`wal_index::WalIndex`] names those
//! its caller must hold.

mod bytes;
mod error;
pub mod header;
pub mod journal;
pub mod lock;
pub mod wal;
pub mod wal_index;

pub use error::Error;
