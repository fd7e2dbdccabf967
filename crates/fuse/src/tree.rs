//! The mount's files: names, inodes, handles.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuser::{Errno, FileAttr};
use parking_lot::Mutex;
use store::{FileKind, MountName, OwnThreads, Store};

use crate::attr::{self, NO_TTL, TTL};
use crate::handle::Handles;
use crate::inode::{Inode, Node, OpenState};
use crate::session_table::SessionTable;
use crate::synthetic;

/// More than there will ever be, with room for more.
const LOOKUPS_UNKNOWN: u64 = 1 << 62;

/// What there is in the mount. Knows the store; knows of FUSE only its words.
pub(crate) struct Tree {
    pub(crate) store: Arc<Store>,
    pub(crate) own: OwnThreads,
    pub(crate) handles: Handles,
    /// Whether passthrough may be used. Turned off for good when the kernel refuses a backing file.
    pub(crate) passthrough: AtomicBool,
    /// Files are to be taken away from those who have them open.
    pub(crate) revoking: AtomicBool,
    names: Mutex<Names>,
    /// For the process that comes after this one.
    pub(crate) session: SessionTable,
    /// The device of the connection, to give back what an earlier process registered.
    pub(crate) device: Option<OwnedFd>,
    /// What was opened for an earlier process, by request: the kernel may not have heard of it.
    pub(crate) unanswered: Mutex<HashMap<u64, u64>>,
    /// Directories of databases with entries that changed since they were synced.
    unsynced: Mutex<HashSet<PathBuf>>,
}

#[derive(Default)]
struct Names {
    by_name: HashMap<String, Arc<Inode>>,
    by_ino: HashMap<u64, (Arc<Inode>, u64)>,
}

impl Tree {
    pub(crate) fn new(
        store: Arc<Store>,
        passthrough: bool,
        session: SessionTable,
        device: Option<OwnedFd>,
    ) -> Tree {
        Tree {
            own: store.own_threads(),
            store,
            handles: Handles::default(),
            passthrough: AtomicBool::new(passthrough),
            revoking: AtomicBool::new(false),
            names: Mutex::default(),
            session,
            device,
            unanswered: Mutex::default(),
            unsynced: Mutex::default(),
        }
    }

    /// LOOKUP: the inode and its attributes and for how long they hold. `Ok(None)`: there is no such file, and the
    /// kernel may remember that.
    pub(crate) fn lookup(
        &self,
        name: &str,
    ) -> Result<Option<(Arc<Inode>, FileAttr, Duration)>, Errno> {
        let parsed = MountName::parse(name).map_err(|_| Errno::EINVAL)?;
        let Some((node, path)) = self.resolve(&parsed) else {
            // What appears without anybody creating it must not be remembered as absent.
            return match parsed {
                MountName::Primary | MountName::Pos(_) | MountName::Lock(_) => Err(Errno::ENOENT),
                _ => Ok(None),
            };
        };
        if !path.as_os_str().is_empty() && !path.exists() {
            return Ok(None);
        }
        let inode = self.inode_for(name, node, path);
        match self.attr_of(&inode) {
            Ok((attr, ttl)) => {
                self.count_lookup(&inode);
                Ok(Some((inode, attr, ttl)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(crate::errno::of_io(&error)),
        }
    }

    /// Takes in an inode that the kernel knows from an earlier process.
    pub(crate) fn adopt(&self, name: String, inode: Arc<Inode>) {
        let mut names = self.names.lock();
        let named = !inode.open.lock().unlinked;
        // How often the kernel was told of it is not known: it stays until the end.
        names
            .by_ino
            .insert(inode.ino, (inode.clone(), LOOKUPS_UNKNOWN));
        if named {
            names.by_name.insert(name, inode);
        }
    }

    /// What a name stands for now, and its backing file.
    pub(crate) fn resolve(&self, name: &MountName) -> Option<(Node, PathBuf)> {
        match name {
            MountName::File(db, kind) => {
                let db = self.store.database(db)?;
                let path = self.store.data_dir().database(db.name()).file(*kind);
                Some((Node::File(db, *kind), path))
            }
            MountName::SuperJournal(name) => Some((
                Node::SuperJournal,
                self.store.data_dir().super_journals().join(name),
            )),
            MountName::Pos(db) => {
                let db = self
                    .store
                    .database(db)
                    .filter(|db| !db.pos().txid.is_zero())?;
                Some((Node::Pos(db), PathBuf::new()))
            }
            MountName::Lock(db) => {
                self.store.database(db)?;
                Some((Node::Lock, PathBuf::new()))
            }
            MountName::Primary => {
                synthetic::primary(&self.store).map(|_| (Node::Primary, PathBuf::new()))
            }
            MountName::Lag => Some((Node::Lag, PathBuf::new())),
        }
    }

    /// The inode of a name; a new one, with a number that no file had before, if it has none.
    pub(crate) fn inode_for(&self, name: &str, node: Node, path: PathBuf) -> Arc<Inode> {
        let mut names = self.names.lock();
        if let Some(inode) = names.by_name.get(name) {
            if inode.node.is_of_same_file(&node) {
                return inode.clone();
            }
            // A database of that name was deleted and another created meanwhile.
            inode.open.lock().unlinked = true;
            self.session.set_unlinked(inode.slot);
        }
        let ino = self.session.next_ino();
        let inode = Arc::new(Inode {
            ino,
            node,
            path,
            slot: self.session.add_inode(ino, name),
            open: Mutex::new(OpenState::default()),
        });
        names.by_name.insert(name.to_owned(), inode.clone());
        names.by_ino.insert(ino, (inode.clone(), 0));
        inode
    }

    pub(crate) fn inode(&self, ino: u64) -> Option<Arc<Inode>> {
        self.names
            .lock()
            .by_ino
            .get(&ino)
            .map(|(inode, _)| inode.clone())
    }

    /// The kernel was told of the inode once more.
    pub(crate) fn count_lookup(&self, inode: &Inode) {
        if let Some((_, lookups)) = self.names.lock().by_ino.get_mut(&inode.ino) {
            *lookups += 1;
        }
    }

    /// From now on the kernel is told that the inode of this name is something else.
    pub(crate) fn begin_revocation(&self, name: &str) -> bool {
        let inode = self.names.lock().by_name.get(name).cloned();
        let Some(inode) = inode else { return false };
        inode.open.lock().revoked = true;
        true
    }

    /// Names of files that have handles.
    pub(crate) fn open_names(&self) -> Vec<String> {
        let names = self.names.lock();
        let open = names
            .by_name
            .iter()
            .filter(|(_, inode)| inode.open.lock().handles > 0);
        open.map(|(name, _)| name.clone()).collect()
    }

    /// FORGET: an inode without a name that the kernel does not know any more is gone.
    pub(crate) fn forget(&self, ino: u64, times: u64) {
        let mut names = self.names.lock();
        let Some((inode, lookups)) = names.by_ino.get_mut(&ino) else {
            return;
        };
        *lookups = lookups.saturating_sub(times);
        if *lookups == 0 && inode.open.lock().unlinked {
            self.session.remove_inode(inode.slot);
            names.by_ino.remove(&ino);
        }
    }

    /// The name is gone, or another file has it now; whoever has the old one open goes on with that.
    pub(crate) fn unlink_name(&self, name: &str) {
        let inode = self.names.lock().by_name.remove(name);
        if let Some(inode) = inode {
            inode.open.lock().unlinked = true;
            self.session.set_unlinked(inode.slot);
        }
    }

    /// Attributes and for how long they hold.
    pub(crate) fn attr_of(&self, inode: &Inode) -> io::Result<(FileAttr, Duration)> {
        Ok(match &inode.node {
            Node::File(..) | Node::SuperJournal | Node::Gone => {
                let mut attr = attr::of_file(inode.ino, &inode.metadata()?);
                if self.revoking.load(Ordering::Acquire) || inode.open.lock().revoked {
                    attr.kind = fuser::FileType::Directory;
                }
                (attr, TTL)
            }
            Node::Pos(_) => (
                attr::synthetic(
                    inode.ino,
                    synthetic::POS_SIZE,
                    0o444,
                    std::time::SystemTime::now(),
                ),
                NO_TTL,
            ),
            Node::Lock => (
                attr::synthetic(inode.ino, 0, 0o444, std::time::UNIX_EPOCH),
                NO_TTL,
            ),
            Node::Primary => {
                let size = synthetic::primary(&self.store).map_or(0, |text| text.len() as u64);
                (
                    attr::synthetic(inode.ino, size, 0o444, std::time::UNIX_EPOCH),
                    NO_TTL,
                )
            }
            Node::Lag => {
                let time = synthetic::lag_time(&self.store);
                (
                    attr::synthetic(inode.ino, synthetic::LAG_SIZE, 0o444, time),
                    NO_TTL,
                )
            }
        })
    }

    pub(crate) fn root_attr(&self) -> io::Result<FileAttr> {
        Ok(attr::root(&std::fs::metadata(self.store.data_dir().dbs())?))
    }

    /// An entry of the directory behind a file changed.
    pub(crate) fn entry_changed(&self, inode_path: &std::path::Path) {
        if let Some(dir) = inode_path.parent() {
            self.unsynced.lock().insert(dir.to_owned());
        }
    }

    /// FSYNCDIR of the flat root stands for the directories behind it.
    pub(crate) fn sync_directories(&self) -> io::Result<()> {
        let dirs = std::mem::take(&mut *self.unsynced.lock());
        for dir in dirs {
            match std::fs::File::open(&dir) {
                Ok(open) => {
                    if let Err(error) = open.sync_all() {
                        self.unsynced.lock().insert(dir);
                        return Err(error);
                    }
                }
                // Deleted as a whole meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The backing file of one of a database's files.
    pub(crate) fn backing(&self, db: &store::Database, kind: FileKind) -> PathBuf {
        self.store.data_dir().database(db.name()).file(kind)
    }
}
