//! Opening files, and the I/O mode that comes with it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{BackingId, FopenFlags, RequestId};

use crate::handle::{Content, Handle};
use crate::inode::{Inode, IoMode, Node};
use crate::resume::without_resend;
use crate::tree::Tree;

/// A backing file for the kernel.
pub(crate) enum Backing<'a> {
    /// To be registered.
    New(&'a File),
    /// Registered by an earlier process, under this number. There must not be a second one while handles are open.
    Registered(u32),
}

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
        unique: RequestId,
        register: impl FnOnce(Backing<'_>) -> io::Result<(BackingId, u32)>,
    ) -> Opened {
        self.forget_unanswered(unique);
        let file = Arc::new(file);
        let mut state = inode.open.lock();
        let mut mode = inode.mode_for_open(&state, self.passthrough.load(Ordering::Relaxed));
        if mode == IoMode::Passthrough && state.backing.is_none() {
            let known = state.left_backing.take();
            let backing = known.map_or(Backing::New(&file), Backing::Registered);
            match register(backing) {
                Ok((id, number)) => {
                    // Before the handle that uses it.
                    self.session.set_backing(inode.slot, Some(number));
                    state.backing = Some(Arc::new(id));
                }
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
            slot: None,
        };
        let mut flags = FopenFlags::FOPEN_NOFLUSH;
        if mode == IoMode::Cached {
            // Whatever writes goes through this cache. (With passthrough the open would fail.)
            flags |= FopenFlags::FOPEN_KEEP_CACHE;
        }
        Opened {
            number: self.add_handle(handle, unique),
            flags,
            backing,
        }
    }

    /// Gives a handle its number, and notes it before the kernel hears of it.
    fn add_handle(&self, mut handle: Handle, unique: RequestId) -> u64 {
        let number = self.session.next_handle();
        handle.slot = self.session.add_handle(
            number,
            handle.inode.ino,
            without_resend(unique),
            handle.own,
            handle.mode == IoMode::Passthrough,
        );
        self.handles.insert(number, handle);
        number
    }

    /// Makes a handle on a file that is made up.
    pub(crate) fn open_synthetic(&self, inode: &Arc<Inode>, unique: RequestId) -> Opened {
        self.forget_unanswered(unique);
        inode.open.lock().handles += 1;
        let handle = Handle {
            inode: inode.clone(),
            content: Content::Synthetic,
            own: true,
            mode: IoMode::Cached,
            slot: None,
        };
        let flags = FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_DIRECT_IO;
        Opened {
            number: self.add_handle(handle, unique),
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
                state.file = None;
                if state.backing.is_some() || state.left_backing.is_some() {
                    self.session.set_backing(handle.inode.slot, None);
                }
                state.backing = None;
                if let Some(id) = state.left_backing.take() {
                    self.close_backing(id);
                }
            }
        }
        self.session.remove_handle(handle.slot);
        if let (Node::File(db, kind), false) = (&handle.inode.node, handle.own) {
            db.released(*kind, handle.mode == IoMode::Passthrough);
        }
    }
}
