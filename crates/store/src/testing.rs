//! For tests of this crate and of its adapters: a mount that is none.

use std::fs::File;
use std::io;

use crate::layout::DataDir;
use crate::mount::{Mount, OpenHow};
use crate::name::{DbName, FileKind};

/// Opens the backing files themselves. Good for tests without FUSE, in which nobody else has the files open through a
/// mount.
pub struct DirectMount {
    data: DataDir,
}

impl DirectMount {
    /// For the store of this data directory.
    pub fn new(data: DataDir) -> DirectMount {
        DirectMount { data }
    }
}

impl Mount for DirectMount {
    fn open(&self, db: &DbName, kind: FileKind, how: OpenHow) -> io::Result<File> {
        let path = self.data.database(db).file(kind);
        File::options()
            .read(true)
            .write(true)
            .create(how == OpenHow::Create)
            .truncate(false)
            .open(path)
    }

    fn unlink(&self, db: &DbName, kind: FileKind) -> io::Result<()> {
        std::fs::remove_file(self.data.database(db).file(kind))
    }

    fn revoke(&self, _db: &DbName) -> Vec<String> {
        Vec::new()
    }

    fn forget_name(&self, _file_name: &str) {}
}
