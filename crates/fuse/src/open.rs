//! Opening files, and the I/O mode that comes with it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{BackingId, FopenFlags};

use crate::handle::{Content, Handle};
use crate::inode::{Inode, IoMode, Node};
use crate::tree::Tree;

/// What an OPEN or CREATE reply needs.
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) flags: FopenFlags,
    /// In passthrough mode.
    pub(crate) backing: Option<Arc<BackingId>>,
}

impl Tree {
    /// Makes a handle on a backing file. `register` registers a backing file with the kernel.
    pub(crate) fn open_file(
        &self,
        inode: &Arc<Inode>,
        file: File,
        own: bool,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Opened {
        let file = Arc::new(file);
        let mut state = inode.open.lock();
        let mut mode = inode.mode_for_open(&state, self.passthrough.load(Ordering::Relaxed));
        if mode == IoMode::Passthrough && state.backing.is_none() {
            match register(&file) {
                Ok(id) => state.backing = Some(Arc::new(id)),
                Err(error) => {
                    if self.passthrough.swap(false, Ordering::Relaxed) {
                        tracing::warn!(path = %inode.path.display(), %error,
                            "the kernel takes no backing file: files are served through the page cache, which is slower");
                    }
                    mode = IoMode::Cached;
                }
            }
        }
        state.mode = Some(mode);
        state.handles += 1;
        state.file = Some(file.clone());
        let backing = state
            .backing
            .clone()
            .filter(|_| mode == IoMode::Passthrough);
        drop(state);
        if let (Node::File(db, kind), false) = (&inode.node, own) {
            db.opened(*kind, mode == IoMode::Passthrough);
        }
        let handle = Handle {
            inode: inode.clone(),
            content: Content::File(file),
            own,
            mode,
        };
        let mut flags = FopenFlags::FOPEN_NOFLUSH;
        if mode == IoMode::Cached {
            // Whatever writes goes through this cache. (With passthrough the open would fail.)
            flags |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        Opened {
            number: self.handles.insert(handle),
            flags,
            backing,
        }
    }

    /// Makes a handle on a file that is made up.
    pub(crate) fn open_synthetic(&self, inode: &Arc<Inode>) -> Opened {
        inode.open.lock().handles += 1;
        let handle = Handle {
            inode: inode.clone(),
            content: Content::Synthetic,
            own: true,
            mode: IoMode::Cached,
        };
        let flags = FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_DIRECT_IO;
        Opened {
            number: self.handles.insert(handle),
            flags,
            backing: None,
        }
    }

    /// RELEASE.
    pub(crate) fn release(&self, number: u64) {
        let Some(handle) = self.handles.remove(number) else {
            return;
        };
        {
            let mut state = handle.inode.open.lock();
            state.handles -= 1;
            if state.handles == 0 {
                state.mode = None;
                state.backing = None;
                state.file = None;
            }
        }
        if let (Node::File(db, kind), false) = (&handle.inode.node, handle.own) {
            db.released(*kind, handle.mode == IoMode::Passthrough);
        }
    }
}
