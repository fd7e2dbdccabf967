//! Inodes: what a number stands for, and in which I/O mode it is.

use std::fs::{File, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fuser::BackingId;
use parking_lot::Mutex;
use store::{Database, FileKind, Mode};

use crate::session_table::Slot;

/// How the kernel serves reads and writes of an inode, for as long as it has handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IoMode {
    /// From the page cache; misses and writes are requests.
    Cached,
    /// From the backing file, without a request.
    Passthrough,
}

/// What an inode is.
pub(crate) enum Node {
    /// A file of a database.
    File(Arc<Database>, FileKind),
    /// A super-journal.
    SuperJournal,
    /// `X-pos`.
    Pos(Arc<Database>),
    /// `X-lock`.
    Lock,
    /// `.primary`.
    Primary,
    /// `.lag`.
    Lag,
    /// What an earlier process had open, and is gone since.
    Gone,
}

impl Node {
    /// Whether both are the same file, and not only of the same name.
    pub(crate) fn is_of_same_file(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::File(a, _) | Node::Pos(a), Node::File(b, _) | Node::Pos(b)) => Arc::ptr_eq(a, b),
            _ => true,
        }
    }
}

/// An inode other than the root.
pub(crate) struct Inode {
    pub(crate) ino: u64,
    pub(crate) node: Node,
    /// The backing file; empty for what is made up.
    pub(crate) path: PathBuf,
    /// Where it is noted for the process that comes after this one.
    pub(crate) slot: Option<Slot>,
    pub(crate) open: Mutex<OpenState>,
}

/// The handles on an inode.
#[derive(Default)]
pub(crate) struct OpenState {
    /// The mode in which all of them are.
    pub(crate) mode: Option<IoMode>,
    pub(crate) handles: u32,
    pub(crate) backing: Option<Arc<BackingId>>,
    /// The number under which the kernel knows the backing file, registered by an earlier process and not used by this
    /// one yet.
    pub(crate) left_backing: Option<u32>,
    /// For attributes once the name is gone.
    pub(crate) file: Option<Arc<File>>,
    /// The name is gone: `path` may be another file by now.
    pub(crate) unlinked: bool,
    /// The file is taken away from those who have it open.
    pub(crate) revoked: bool,
}

impl Inode {
    /// The mode for a handle that is being opened: that of the others, or the best one for this kind of file.
    pub(crate) fn mode_for_open(&self, state: &OpenState, passthrough: bool) -> IoMode {
        if let (Some(mode), true) = (state.mode, state.handles > 0) {
            return mode;
        }
        match &self.node {
            Node::File(db, kind) if passthrough && prefers_passthrough(db, *kind) => {
                IoMode::Passthrough
            }
            _ => IoMode::Cached,
        }
    }

    /// The attributes of the backing file.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        let state = self.open.lock();
        match &state.file {
            Some(file) => file.metadata(),
            None if state.unlinked => Err(io::ErrorKind::NotFound.into()),
            None => std::fs::metadata(&self.path),
        }
    }
}

/// A database in a rollback mode is better cached: after a passthrough read the kernel asks for the attributes again
/// in each read transaction. The journal must be: its writes are the commit points.
fn prefers_passthrough(db: &Database, kind: FileKind) -> bool {
    match kind {
        FileKind::Database => db.mode() == Mode::Wal,
        FileKind::Wal | FileKind::Shm => true,
        FileKind::Journal => false,
    }
}
