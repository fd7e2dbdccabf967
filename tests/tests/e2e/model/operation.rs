//! What can happen in a plan, as data: a plan can be printed, kept in a file and cut down.
//!
//! Every operation can be performed in every state, whatever was left out before it.

use serde::{Deserialize, Serialize};

/// How many connections a plan has on the primary.
pub(super) const CONNECTIONS: usize = 4;
/// How many a plan has on the replica.
pub(super) const READERS: usize = 2;

/// One of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Database {
    A,
    B,
}

impl Database {
    pub(super) const ALL: [Database; 2] = [Database::A, Database::B];

    pub(super) fn name(self) -> &'static str {
        match self {
            Database::A => "a",
            Database::B => "b",
        }
    }

    /// The one that is attached to connections of this one.
    pub(super) fn other(self) -> Database {
        match self {
            Database::A => Database::B,
            Database::B => Database::A,
        }
    }

    /// The database of a connection.
    pub(super) fn of(connection: usize) -> Database {
        match connection {
            2 => Database::B,
            _ => Database::A,
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    /// Makes a database where there is none.
    Create {
        database: Database,
        page_size: u32,
        auto_vacuum: String,
        mode: Mode,
    },
    /// A connection on the primary does something; it is opened if it is not open.
    On { connection: usize, action: Action },
    /// A connection on the replica does something.
    Reader { reader: usize, action: Reading },
    /// The replica catches up, and everything is compared. Transactions stay open where they are in nobody's way.
    Compare { keep: bool },
    /// All connections are closed, and another program changes the journal mode.
    Switch { database: Database, mode: Mode },
    /// All connections are closed and the files are removed.
    Drop { database: Database },
    /// The primary goes and comes back.
    RestartPrimary { way: Way },
    /// The replica goes.
    StopReplica { way: Way },
    /// The replica comes back.
    StartReplica,
    /// The replica comes back with nothing.
    WipeReplica,
    /// A transaction during which something is killed. It is the only one.
    Crash(Crash),
}

/// See [`Operation::Crash`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Crash {
    pub(super) database: Database,
    /// The journal mode, where the database is not in WAL mode.
    pub(super) mode: Mode,
    /// Whether the transaction is over both databases, where neither is in WAL mode: then it is atomic.
    pub(super) both: bool,
    /// Whether the node is killed, and then the application; else the application alone.
    pub(super) node: bool,
    /// From the start of the transaction to the kill.
    pub(super) microseconds: u32,
    pub(super) rows: Rows,
}

/// How a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// SIGTERM, after all connections were closed.
    Stopped,
    /// SIGKILL, then the processes of all connections.
    Killed,
    /// The processes of all connections are killed, then the node.
    KilledAfterApplications,
}

/// What a connection on the replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reading {
    Begin,
    Read,
    End,
    /// A write that is refused.
    Write,
    Checkpoint,
    Close,
}

/// A journal mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    Delete,
    Truncate,
    Persist,
    Memory,
    Off,
    Wal,
}

impl Mode {
    pub(super) const ALL: [Mode; 6] = [
        Mode::Delete,
        Mode::Truncate,
        Mode::Persist,
        Mode::Memory,
        Mode::Off,
        Mode::Wal,
    ];

    /// SQLite's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Mode::Delete => "delete",
            Mode::Truncate => "truncate",
            Mode::Persist => "persist",
            Mode::Memory => "memory",
            Mode::Off => "off",
            Mode::Wal => "wal",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

/// What a connection on the primary does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    /// `deferred`, `immediate` or `exclusive`.
    Begin(String),
    Commit,
    Rollback,
    Savepoint(u8),
    Release(u8),
    RollbackTo(u8),
    Insert(Rows),
    Update(Rows),
    /// The rows of `Rows`, without the new values.
    Delete(Rows),
    /// Every row of the table.
    Empty(Rows),
    Read,
    CreateTable,
    DropTable,
    /// A setting of the connection: `PRAGMA name = value`.
    Set(String, i64),
    JournalMode(Mode),
    Exclusive(bool),
    /// `passive`, `full`, `restart` or `truncate`.
    Checkpoint(String),
    Vacuum,
    IncrementalVacuum(u32),
    Attach,
    Detach,
    Close,
    Kill,
}

/// Which rows, and what goes into them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rows {
    /// In the attached database.
    pub(super) other: bool,
    /// Number of the table.
    pub(super) table: u8,
    /// First id.
    pub(super) from: u32,
    /// How many ids.
    pub(super) count: u32,
    /// Bytes of each value.
    pub(super) length: u32,
    /// What makes the values differ from others.
    pub(super) salt: u32,
}
