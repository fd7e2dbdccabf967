//! What a test says to its file system, and what it hears: JSON lines.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::faultfs::operation::Kind;

/// Requests that are to fail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Of these kinds.
    pub kinds: Vec<Kind>,
    /// On paths with this in them.
    pub path: String,
    /// The first one that fails, counted from 1.
    pub nth: u64,
    /// Whether the later ones fail as well.
    pub lasting: bool,
    /// What it fails with.
    pub errno: i32,
}

impl Fault {
    /// The `nth` change of any file, and no other one, fails with EIO.
    pub fn of_change(nth: u64) -> Fault {
        Fault {
            kinds: Kind::CHANGES.to_vec(),
            path: String::new(),
            nth,
            lasting: false,
            errno: libc::EIO,
        }
    }

    /// Requests of one kind on paths with `path` in them fail with EIO.
    pub fn of_all(kind: Kind, path: &str) -> Fault {
        Fault {
            kinds: vec![kind],
            path: path.to_owned(),
            nth: 1,
            lasting: true,
            errno: libc::EIO,
        }
    }

    pub(crate) fn is_about(&self, kind: Kind, path: &str) -> bool {
        self.kinds.contains(&kind) && path.contains(&self.path)
    }
}

/// A request that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hit {
    /// What was asked.
    pub kind: Kind,
    /// Of which file, below the mount point.
    pub path: String,
}

/// What is lost in a crash.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Loss {
    /// Nothing: a process was killed.
    Nothing,
    /// Some of what was not synced: the power failed.
    Unsynced {
        /// Decides what.
        seed: u64,
        /// Whether changes of names can be lost too.
        names: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Arm(Fault),
    Disarm,
    Done,
    Describe(usize),
    Image {
        after: usize,
        loss: Loss,
        path: PathBuf,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    Hits(u64, Vec<Hit>),
    Count(usize),
    Text(String),
    Failed(String),
}
