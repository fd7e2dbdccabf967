//! The store as a client of the mount.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use fuser::{INodeNo, Notifier};
use store::{DbName, FileKind, OpenHow};

use crate::tree::Tree;

/// Opens files by their path in the mount, like any application.
pub(crate) struct MountClient {
    dir: PathBuf,
    tree: Arc<Tree>,
    invalidate: mpsc::Sender<OsString>,
}

impl MountClient {
    /// Invalidations run on a thread of their own: the kernel makes them wait for requests on the same directory,
    /// and who asks for them may owe the reply to one. The thread ends with the client.
    pub(crate) fn start(
        dir: PathBuf,
        tree: Arc<Tree>,
        notifier: Notifier,
    ) -> io::Result<MountClient> {
        let (invalidate, names) = mpsc::channel::<OsString>();
        std::thread::Builder::new()
            .name("litefs-inval".into())
            .spawn(move || {
                for name in names {
                    match notifier.inval_entry(INodeNo::ROOT, &name) {
                        // The kernel does not know the name.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            tracing::debug!(name = %name.display(), %error, "invalidation")
                        }
                        Ok(()) => {}
                    }
                }
            })?;
        Ok(MountClient {
            dir,
            tree,
            invalidate,
        })
    }
}

impl store::Mount for MountClient {
    fn open(&self, db: &DbName, kind: FileKind, how: OpenHow) -> io::Result<File> {
        let path = self.dir.join(db.file(kind));
        let mut options = File::options();
        options.read(true).write(true);
        // Without O_CREAT first: with it some kernels lock the directory, which an UNLINK that waits for us may hold.
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && how == OpenHow::Create => {
                options.create(true).truncate(false).open(&path)
            }
            opened => opened,
        }
    }

    fn unlink(&self, db: &DbName, kind: FileKind) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(db.file(kind)))
    }

    fn revoke(&self, db: &DbName) -> Vec<String> {
        let failed = crate::revoke::revoke_database(&self.tree, &self.dir, db);
        for kind in FileKind::ALL {
            // The receiver lives as long as the session.
            let _ = self.invalidate.send(db.file(kind).into());
        }
        failed
    }

    fn forget_name(&self, file_name: &str) {
        self.tree.unlink_name(file_name);
        // The receiver lives as long as the session.
        let _ = self.invalidate.send(file_name.into());
    }
}
