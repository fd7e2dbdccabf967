//! What can go wrong in the store, with the database and the place in the text.

use std::io;
use std::path::{Path, PathBuf};

use ltx::Pos;

use crate::name::{DbName, NameError};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only the primary may do this.
    #[error("this node is not the primary")]
    NotPrimary,
    /// No database of that name.
    #[error("database {0} not found")]
    UnknownDatabase(DbName),
    /// After a crash its content is not that of its log, and the primary has not sent the right one yet.
    #[error(
        "database {0}: its content is not that of its log; waiting for a snapshot of the primary"
    )]
    Unreadable(DbName),
    /// A text that cannot be the name of a database.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A transaction that does not follow on the position of the database.
    #[error(
        "database {db}: a transaction that follows on {expected} does not fit our position {actual}"
    )]
    PositionMismatch {
        /// The database.
        db: DbName,
        /// Where the transaction belongs.
        expected: Pos,
        /// Where the database is.
        actual: Pos,
    },
    /// After the transaction the database does not have the checksum that its author computed.
    #[error(
        "database {db}: checksum after applying {txid} is {actual}, its author computed {expected}"
    )]
    PostApplyMismatch {
        /// The database.
        db: DbName,
        /// The last TXID of the transaction.
        txid: ltx::TxId,
        /// What the LTX file says.
        expected: ltx::Checksum,
        /// What the page-checksum table gives.
        actual: ltx::Checksum,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that were sent in as a database are none.
    #[error("database {db}: not a usable SQLite database: {reason}")]
    NotADatabase {
        /// The database that they were meant for.
        db: DbName,
        /// What is wrong, and where.
        reason: String,
    },
    /// A lock that somebody else holds for too long.
    #[error("database {db}: {lock} is held by an application for more than {waited_ms} ms")]
    Busy {
        /// The database.
        db: DbName,
        /// Which of SQLite's locks.
        lock: &'static str,
        /// How long we tried, in milliseconds.
        waited_ms: u64,
    },
    /// The database was deleted, or the store is closing.
    #[error("database {0} is closed")]
    Closed(DbName),
    /// An operating system error, with the file or action that met it.
    #[error("{what}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// An LTX file that is not valid.
    #[error("{what}")]
    Ltx {
        /// Which file.
        what: String,
        /// What is wrong with it.
        source: ltx::Error,
    },
    /// One of SQLite's files that is not valid.
    #[error("{what}")]
    Sqlite {
        /// Which file.
        what: String,
        /// What is wrong with it.
        source: sqlite::Error,
    },
    /// The data directory belongs to something else, or to another process.
    #[error("data directory {path}: {reason}", path = path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be used, and what to do.
        reason: String,
    },
}

/// What an error means to the one who asked: adapters map it to their own codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Ask the primary instead.
    NotPrimary,
    /// There is no such thing.
    NotFound,
    /// What was sent is not acceptable, and never will be.
    BadInput,
    /// It does not fit the present state; another state would do.
    Conflict,
    /// Try again later.
    Unavailable,
    /// A fault on our side.
    Internal,
}

impl Error {
    /// What the error means to the one who asked.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotPrimary => ErrorKind::NotPrimary,
            Error::UnknownDatabase(_) => ErrorKind::NotFound,
            Error::Name(_) | Error::NotADatabase { .. } | Error::Ltx { .. } => ErrorKind::BadInput,
            Error::PositionMismatch { .. } | Error::PostApplyMismatch { .. } => ErrorKind::Conflict,
            Error::Busy { .. } | Error::Closed(_) | Error::Unreadable(_) => ErrorKind::Unavailable,
            Error::BadFile { .. }
            | Error::Io { .. }
            | Error::Sqlite { .. }
            | Error::DataDirectory { .. } => ErrorKind::Internal,
        }
    }

    /// The error with all its causes in one line, for logs and status displays.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

/// Adds what was being done to an operating system error.
pub(crate) trait IoContext<T> {
    /// `what` and the path, as in `open /data/dbs/app/wal`.
    fn during(self, what: &str, path: &Path) -> Result<T, Error>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, what: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            what: format!("{what} {}", path.display()),
            source,
        })
    }
}
