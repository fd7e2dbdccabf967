//! SQLite's journal modes and synchronous levels, as its pragmas name them.

use std::fmt;
use std::str::FromStr;

/// `PRAGMA journal_mode`, as far as it leaves a trace that can be replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalMode {
    /// The rollback journal is deleted at commit.
    Delete,
    /// It is cut to nothing.
    Truncate,
    /// Its header is zeroed.
    Persist,
    /// Write-ahead log.
    Wal,
}

/// `PRAGMA synchronous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// No sync at all.
    Off,
    /// In WAL mode only at checkpoints.
    Normal,
    /// At every commit.
    Full,
}

impl JournalMode {
    /// All of them.
    pub const ALL: [JournalMode; 4] = [
        JournalMode::Delete,
        JournalMode::Truncate,
        JournalMode::Persist,
        JournalMode::Wal,
    ];
}

impl fmt::Display for JournalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JournalMode::Delete => "delete",
            JournalMode::Truncate => "truncate",
            JournalMode::Persist => "persist",
            JournalMode::Wal => "wal",
        })
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Synchronous::Off => "off",
            Synchronous::Normal => "normal",
            Synchronous::Full => "full",
        })
    }
}

impl FromStr for JournalMode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<JournalMode, Self::Err> {
        let found = JournalMode::ALL
            .into_iter()
            .find(|mode| mode.to_string() == text);
        found.ok_or_else(|| anyhow::anyhow!("no journal mode: {text}"))
    }
}

impl FromStr for Synchronous {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Synchronous, Self::Err> {
        let all = [Synchronous::Off, Synchronous::Normal, Synchronous::Full];
        let found = all.into_iter().find(|level| level.to_string() == text);
        found.ok_or_else(|| anyhow::anyhow!("no synchronous level: {text}"))
    }
}
