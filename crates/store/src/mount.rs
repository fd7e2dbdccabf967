//! What the store needs of the mount, and what the mount may ask of a database.

use std::fs::File;
use std::io;

use crate::name::{DbName, FileKind};

/// How the store opens a file through the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// It must exist.
    Existing,
    /// Create it if it does not exist.
    Create,
}

/// The mount, as the store sees it: a place where it is one client among others.
///
/// Every access of the daemon to a `-shm`, and every write to a live database or `-wal`, goes through the mount and
/// not to the backing file: where the mount caches, the two do not share pages. The second implementation is
/// [`crate::testing::DirectMount`], which opens the backing files for tests without FUSE.
pub trait Mount: Send + Sync {
    /// Opens a file of a database for reading and writing. Called on the store's own threads only.
    fn open(&self, db: &DbName, kind: FileKind, how: OpenHow) -> io::Result<File>;

    /// Removes a file of a database through the mount. Called on the store's own threads only.
    fn unlink(&self, db: &DbName, kind: FileKind) -> io::Result<()>;

    /// Makes every handle on the files of a database fail, also those of the store, and lets the names be opened anew.
    /// Returns the names of files of which that failed. Waits for the kernel; not called on a strand.
    fn revoke(&self, db: &DbName) -> Vec<String>;

    /// Makes the kernel forget what it knows of a name (that it exists, or that it does not), because the store
    /// changed the backing directory. Must not wait: the caller may owe a reply.
    fn forget_name(&self, file_name: &str);
}

/// The answer to a request that the store took over.
pub type Completion = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Why the store does not let a request through. The mount has one table from these to errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An application tried to write on a node that may not commit, before SQLite wrote anything:
    /// SQLite should say "attempt to write a readonly database".
    ReadOnly,
    /// A commit at a node that may not commit: SQLite must roll back.
    Veto,
    /// What SQLite committed could not be captured; nothing may be overwritten until it is.
    CaptureFailed,
    /// The operating system's answer, an errno.
    Os(i32),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Os(error.raw_os_error().unwrap_or(libc::EIO))
    }
}
