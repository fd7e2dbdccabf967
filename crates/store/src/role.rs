//! The role of this node, in one value that is changed in one place.

use std::fmt;

/// The term of a primary. It only grows; two primaries never have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch by its number.
    pub fn new(number: u64) -> Epoch {
        Epoch(number)
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the primary is, as its lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryInfo {
    /// Host name: what `.primary` shows.
    pub hostname: String,
    /// Base URL of its API, which also carries the stream.
    pub advertise_url: String,
}

/// What this node may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Neither: no application may commit, nothing is applied.
    None,
    /// Takes the writes.
    Primary {
        /// Its term.
        epoch: Epoch,
    },
    /// Has a copy to read.
    Replica {
        /// The primary it follows, while it is connected to it.
        primary: Option<PrimaryInfo>,
    },
}

impl Role {
    /// Whether commits are allowed here.
    pub fn is_primary(&self) -> bool {
        matches!(self, Role::Primary { .. })
    }

    /// Whether transactions of another node are applied here.
    pub fn is_replica(&self) -> bool {
        matches!(self, Role::Replica { .. })
    }

    /// One word for status displays: `primary`, `replica` or `none`.
    pub fn word(&self) -> &'static str {
        match self {
            Role::None => "none",
            Role::Primary { .. } => "primary",
            Role::Replica { .. } => "replica",
        }
    }
}
