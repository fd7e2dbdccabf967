//! Going on where another process left the connection: its inodes, its handles, its backing files.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use fuser::RequestId;
use parking_lot::Mutex;
use store::{FileKind, MountName};

use crate::backing::open_backing;
use crate::handle::{Content, Handle};
use crate::inode::{Inode, IoMode, Node, OpenState};
use crate::session_table::{SavedHandle, SavedInode};
use crate::tree::Tree;

/// What the kernel sets in the number of a request that it sends once more.
const RESENT: u64 = 1 << 63;

nix::ioctl_write_ptr!(
    /// FUSE_DEV_IOC_BACKING_CLOSE.
    fuse_dev_backing_close,
    229,
    2,
    u32
);

/// Whether another process has read the request and did not answer it: it may have done what was asked.
pub(crate) fn is_resent(unique: RequestId) -> bool {
    unique.0 & RESENT != 0
}

/// The number that the request had at first.
pub(crate) fn without_resend(unique: RequestId) -> u64 {
    unique.0 & !RESENT
}

impl Tree {
    /// Takes in what an earlier process noted. `revoked`: names of files whose handles were taken away; a new inode is
    /// to have the name. The database must be known to the store.
    pub(crate) fn restore(&self, revoked: &HashSet<String>) {
        let (inodes, handles) = self.session.restore();
        let mut by_ino: HashMap<u64, Vec<SavedHandle>> = HashMap::new();
        for handle in handles {
            by_ino.entry(handle.ino).or_default().push(handle);
        }
        tracing::info!(inodes = inodes.len(), "going on with the mount");
        for saved in inodes {
            let handles = by_ino.remove(&saved.ino).unwrap_or_default();
            self.restore_inode(saved, &handles, revoked);
        }
        for orphan in by_ino.into_values().flatten() {
            self.session.remove_handle(Some(orphan.slot));
        }
    }

    fn restore_inode(&self, saved: SavedInode, handles: &[SavedHandle], revoked: &HashSet<String>) {
        let gone = saved.unlinked || revoked.contains(&saved.name);
        let parsed = MountName::parse(&saved.name).ok();
        let resolved = parsed
            .filter(|_| !gone)
            .and_then(|name| self.resolve(&name));
        let unlinked = resolved.is_none();
        if unlinked {
            self.session.set_unlinked(Some(saved.slot));
        }
        let (node, path) = resolved.unwrap_or((Node::Gone, Default::default()));
        let file = match node {
            Node::File(..) | Node::SuperJournal if !handles.is_empty() => {
                open_backing(&path).ok().map(Arc::new)
            }
            _ => None,
        };
        let passthrough = handles.iter().any(|handle| handle.passthrough);
        let mode = if passthrough {
            IoMode::Passthrough
        } else {
            IoMode::Cached
        };
        if let (None, Some(id)) = (handles.first(), saved.backing) {
            self.session.set_backing(Some(saved.slot), None);
            self.close_backing(id);
        }
        let inode = Arc::new(Inode {
            ino: saved.ino,
            node,
            path,
            slot: Some(saved.slot),
            open: Mutex::new(OpenState {
                mode: (!handles.is_empty()).then_some(mode),
                handles: handles.len() as u32,
                left_backing: saved.backing.filter(|_| !handles.is_empty()),
                file,
                unlinked,
                ..OpenState::default()
            }),
        });
        for handle in handles {
            self.restore_handle(handle, &inode);
        }
        self.adopt(saved.name, inode);
    }

    fn restore_handle(&self, saved: &SavedHandle, inode: &Arc<Inode>) {
        let file = inode.open.lock().file.clone();
        let content = match (&inode.node, file) {
            (Node::File(..) | Node::SuperJournal, Some(file)) => Content::File(file),
            (Node::File(..) | Node::SuperJournal | Node::Gone, _) => Content::Gone,
            _ => Content::Synthetic,
        };
        if let (Node::File(db, kind), false) = (&inode.node, saved.own) {
            db.was_open(*kind, saved.passthrough);
        }
        let handle = Handle {
            inode: inode.clone(),
            content,
            own: saved.own,
            mode: if saved.passthrough {
                IoMode::Passthrough
            } else {
                IoMode::Cached
            },
            slot: Some(saved.slot),
        };
        self.handles.insert(saved.number, handle);
        self.unanswered.lock().insert(saved.unique, saved.number);
    }

    /// A request that opens something: if an earlier process has done it and did not answer, its handle is nobody's.
    pub(crate) fn forget_unanswered(&self, unique: RequestId) {
        if !is_resent(unique) {
            return;
        }
        let number = self.unanswered.lock().remove(&without_resend(unique));
        if let Some(number) = number {
            self.release(number);
        }
    }

    /// Gives back a backing file that an earlier process registered.
    pub(crate) fn close_backing(&self, id: u32) {
        let Some(device) = &self.device else { return };
        // SAFETY: the kernel reads one u32; the descriptor is open.
        if let Err(errno) = unsafe { fuse_dev_backing_close(device.as_raw_fd(), &id) } {
            tracing::debug!(id, %errno, "a backing file is not given back");
        }
    }
}

/// The names of the logs of databases.
pub(crate) fn log_names(databases: &[String]) -> HashSet<String> {
    let names = databases
        .iter()
        .filter_map(|db| store::DbName::new(db).ok());
    names.map(|db| db.file(FileKind::Wal)).collect()
}
