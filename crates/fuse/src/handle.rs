//! Open handles.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::inode::{Inode, IoMode};
use crate::session_table::Slot;

/// One open file.
pub(crate) struct Handle {
    pub(crate) inode: Arc<Inode>,
    pub(crate) content: Content,
    /// Opened by the store itself.
    pub(crate) own: bool,
    pub(crate) mode: IoMode,
    /// Where it is noted for the process that comes after this one.
    pub(crate) slot: Option<Slot>,
}

/// What is read and written through a handle.
pub(crate) enum Content {
    /// A backing file, open for reading and writing.
    File(Arc<File>),
    /// Made up at each read.
    Synthetic,
    /// Opened for an earlier process, and its file is gone since.
    Gone,
}

/// All open handles, by number.
#[derive(Default)]
pub(crate) struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    pub(crate) fn insert(&self, number: u64, handle: Handle) {
        self.open.write().insert(number, Arc::new(handle));
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.read().get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open.write().remove(&number)
    }
}
