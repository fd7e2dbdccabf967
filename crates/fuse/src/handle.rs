//! Open handles.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::inode::{Inode, IoMode};

/// One open file.
pub(crate) struct Handle {
    pub(crate) inode: Arc<Inode>,
    pub(crate) content: Content,
    /// Opened by the store itself.
    pub(crate) own: bool,
    pub(crate) mode: IoMode,
}

/// What is read and written through a handle.
pub(crate) enum Content {
    /// A backing file, open for reading and writing.
    File(Arc<File>),
    /// Made up at each read.
    Synthetic,
}

/// All open handles, by number.
#[derive(Default)]
pub(crate) struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    pub(crate) fn insert(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.read().get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.write().remove(&number)
    }
}
