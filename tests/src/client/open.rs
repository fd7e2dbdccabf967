//! Opening a database as applications do.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Longer than any lock is held in a test, unless the test is about that.
const BUSY_TIMEOUT: Duration = Duration::from_secs(40);

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to read.
    ReadOnly,
    /// To read and write; it must be there.
    ReadWrite,
    /// To read and write; made if it is not there.
    Create,
}

impl Access {
    /// One word for a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "read-write",
            Access::Create => "create",
        }
    }

    /// The meaning of a word; read-write if there is none.
    pub(crate) fn from_word(word: Option<&str>) -> anyhow::Result<Access> {
        let all = [Access::ReadOnly, Access::ReadWrite, Access::Create];
        let Some(word) = word else {
            return Ok(Access::ReadWrite);
        };
        all.into_iter()
            .find(|access| access.word() == word)
            .ok_or_else(|| anyhow::anyhow!("no way to open: {word}"))
    }
}

/// Opens `database` and waits for locks as long as an application would.
pub(crate) fn open(database: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags = match access {
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let connection =
        Connection::open_with_flags(database, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
