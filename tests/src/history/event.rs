//! What was tried and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a write is known by: nobody else writes the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteId {
    /// The node on which it was tried.
    pub node: u32,
    /// Its number there. It goes up over all recorders of a node.
    pub seq: u32,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}/{}", self.node, self.seq)
    }
}

/// What an application knows of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// SQLite said that it was committed.
    Acknowledged,
    /// SQLite said that it was not.
    Refused,
    /// SQLite did not say, or the application did not live to hear it.
    Unknown,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which.
    pub id: WriteId,
    /// Just before.
    pub before: u64,
    /// Just after; for ever if there was no answer.
    pub after: u64,
    /// What the application knows.
    pub outcome: Outcome,
    /// What SQLite said, if it was no success.
    pub text: String,
}

/// One read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The node on which it was done.
    pub node: u32,
    /// Just before.
    pub before: u64,
    /// Just after.
    pub after: u64,
    /// What was there, or what SQLite said.
    pub result: Result<Option<Seen>, String>,
}

/// The newest write that a read saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many writes were there.
    pub count: u32,
    /// The newest one.
    pub newest: WriteId,
}

/// What a recorder prints, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Line {
    /// A write begins.
    Begin {
        /// Its number.
        seq: u32,
        /// When.
        at: u64,
    },
    /// It is over.
    End {
        /// When.
        at: u64,
        /// What is known of it.
        outcome: Outcome,
        /// What SQLite said, if it was no success.
        text: String,
    },
}
