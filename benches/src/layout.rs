//! What is compared: a journal mode with a synchronous level.

use std::fmt;

use harness::ledger::{JournalMode, Synchronous};

/// How an application uses its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `PRAGMA journal_mode`.
    pub(crate) journal_mode: JournalMode,
    /// `PRAGMA synchronous`.
    pub(crate) synchronous: Synchronous,
}

impl Layout {
    /// Those of the table, in its order.
    pub(crate) const ALL: [Layout; 5] = [
        Layout::WAL_NORMAL,
        Layout {
            journal_mode: JournalMode::Wal,
            synchronous: Synchronous::Full,
        },
        Layout {
            journal_mode: JournalMode::Delete,
            synchronous: Synchronous::Full,
        },
        Layout {
            journal_mode: JournalMode::Truncate,
            synchronous: Synchronous::Full,
        },
        Layout {
            journal_mode: JournalMode::Persist,
            synchronous: Synchronous::Full,
        },
    ];
    /// The usual one.
    pub(crate) const WAL_NORMAL: Layout = Layout {
        journal_mode: JournalMode::Wal,
        synchronous: Synchronous::Normal,
    };
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.journal_mode, self.synchronous))
    }
}
