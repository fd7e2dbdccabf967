//! What a status display shows of a database and of the node.

use std::fmt;
use std::time::Duration;

use ltx::Pos;

use crate::incarnation::Incarnation;
use crate::name::DbName;

/// How SQLite writes a database, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No page has been written yet.
    Empty,
    /// With a write-ahead log.
    Wal,
    /// With a rollback journal.
    Rollback,
    /// The file is not a SQLite database; it is left alone and not replicated.
    NotSqlite,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Empty => "empty",
            Mode::Wal => "wal",
            Mode::Rollback => "rollback",
            Mode::NotSqlite => "not a SQLite database",
        })
    }
}

/// A database at one moment.
#[derive(Debug, Clone)]
pub struct DatabaseStatus {
    /// Its name.
    pub name: DbName,
    /// Last captured or applied transaction.
    pub pos: Pos,
    /// Which one of that name.
    pub incarnation: Incarnation,
    /// How SQLite writes it.
    pub mode: Mode,
    /// Page size in bytes, once there is a page.
    pub page_size: Option<u32>,
    /// Pages in the database.
    pub page_count: u32,
    /// Transactions captured here since the start of the process.
    pub commits: u64,
    /// Transactions applied here since the start of the process.
    pub applied: u64,
    /// Files in the LTX log.
    pub ltx_files: u64,
    /// Bytes in the LTX log.
    pub ltx_bytes: u64,
    /// Files that retention removed since the start of the process.
    pub ltx_reaped: u64,
    /// When the last transaction was captured (at its author), in Unix milliseconds.
    pub last_change_ms: Option<i64>,
    /// How old the last applied transaction was when it was applied, in milliseconds. 0 on the primary.
    pub lag_ms: i64,
    /// Why the database is not replicating, if it is not.
    pub latched: Option<String>,
    /// Pages that the last scrub found damaged, ascending; not all if they are many.
    pub damaged_pages: Vec<u32>,
    /// WRITE requests for the database file that the mount saw. Passthrough writes are not seen.
    pub database_writes: u64,
    /// WRITE requests for the journal.
    pub journal_writes: u64,
    /// WRITE requests for the -wal that the mount saw.
    pub wal_writes: u64,
    /// WRITE requests for the -shm that the mount saw.
    pub shm_writes: u64,
}

/// How far this node is behind the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// It is the primary.
    Primary,
    /// It has never been in sync with a primary since its start.
    NeverSynced,
    /// It was in sync with the primary as of so long ago.
    Behind(Duration),
}
