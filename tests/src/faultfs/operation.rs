//! What a file system is asked to change, as data: it can be counted, written down, and done again elsewhere.

use serde::{Deserialize, Serialize};

/// The number of a file or directory; never used twice.
pub(crate) type Ino = u64;

/// The root directory.
pub(crate) const ROOT: Ino = 1;

/// What kind of request: what a [`Fault`](crate::faultfs::Fault) chooses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An existing file is opened.
    Open,
    /// Content is read.
    Read,
    /// Content is written.
    Write,
    /// The size is set.
    Truncate,
    /// A file or directory is made.
    Create,
    /// A name is removed.
    Unlink,
    /// A name is changed.
    Rename,
    /// Permission bits are set.
    Permissions,
    /// A file is synced.
    Fsync,
    /// A directory is synced.
    FsyncDirectory,
}

impl Kind {
    /// All that change something or make it durable.
    pub const CHANGES: [Kind; 8] = [
        Kind::Write,
        Kind::Truncate,
        Kind::Create,
        Kind::Unlink,
        Kind::Rename,
        Kind::Permissions,
        Kind::Fsync,
        Kind::FsyncDirectory,
    ];
}

/// A change, or something that makes changes durable.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A new name for a new file or directory.
    Create {
        /// Its number.
        ino: Ino,
        parent: Ino,
        name: String,
        directory: bool,
        /// Permission bits.
        mode: u32,
    },
    /// A name goes. Of directories only empty ones.
    Unlink {
        parent: Ino,
        name: String,
    },
    /// A name moves, over another one if there is one.
    Rename {
        from: (Ino, String),
        to: (Ino, String),
    },
    Write {
        ino: Ino,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        ino: Ino,
        size: usize,
    },
    Permissions {
        ino: Ino,
        mode: u32,
    },
    Fsync {
        ino: Ino,
    },
    FsyncDirectory {
        ino: Ino,
    },
}

impl Operation {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Operation::Create { .. } => Kind::Create,
            Operation::Unlink { .. } => Kind::Unlink,
            Operation::Rename { .. } => Kind::Rename,
            Operation::Write { .. } => Kind::Write,
            Operation::Truncate { .. } => Kind::Truncate,
            Operation::Permissions { .. } => Kind::Permissions,
            Operation::Fsync { .. } => Kind::Fsync,
            Operation::FsyncDirectory { .. } => Kind::FsyncDirectory,
        }
    }

    /// Whether it changes names or permissions: what a journaling file system keeps in order.
    pub(crate) fn is_of_names(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Create | Kind::Unlink | Kind::Rename | Kind::Permissions
        )
    }

    /// Whether it changes a name in `directory`.
    pub(crate) fn touches(&self, directory: Ino) -> bool {
        match self {
            Operation::Create { parent, .. } | Operation::Unlink { parent, .. } => {
                *parent == directory
            }
            Operation::Rename { from, to } => from.0 == directory || to.0 == directory,
            _ => false,
        }
    }
}
