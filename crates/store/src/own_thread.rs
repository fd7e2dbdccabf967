//! Which threads are the daemon's own clients of its own mount.
//!
//! A FUSE request carries the id of the calling *thread*. The store opens files through the mount only on threads
//! that are registered here, so that the mount can tell such an OPEN from an application's. Afterwards it goes by
//! the handle: the thread id identifies only the opener.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// The set of registered threads of one store.
#[derive(Debug, Clone, Default)]
pub struct OwnThreads(Arc<RwLock<HashSet<u32>>>);

impl OwnThreads {
    /// Whether thread `tid` (as the kernel numbers it) belongs to the store.
    pub fn contains(&self, tid: u32) -> bool {
        self.0.read().contains(&tid)
    }

    /// Registers the calling thread until the guard is dropped.
    pub(crate) fn enter(&self) -> OwnThreadGuard {
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        self.0.write().insert(tid);
        OwnThreadGuard {
            threads: self.clone(),
            tid,
        }
    }
}

/// See [`OwnThreads::enter`].
pub(crate) struct OwnThreadGuard {
    threads: OwnThreads,
    tid: u32,
}

impl Drop for OwnThreadGuard {
    fn drop(&mut self) {
        self.threads.0.write().remove(&self.tid);
    }
}
