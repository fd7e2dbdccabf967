//! Which threads are the daemon's own clients of its own mount.
//!
//! A FUSE request carries the id of the calling *thread*. The store opens files through the mount only on threads
//! that are registered here, so that the mount can tell such an OPEN from an application's. Afterwards it goes by
//! the handle: the thread id identifies only the opener.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// The set of registered threads of one store, each with how often it is registered.
#[derive(Debug, Clone, Default)]
pub struct OwnThreads(Arc<RwLock<HashMap<u32, u32>>>);

impl OwnThreads {
    /// Whether thread `tid` (as the kernel numbers it) belongs to the store.
    pub fn contains(&self, tid: u32) -> bool {
        self.0.read().contains_key(&tid)
    }

    /// Registers the calling thread until the guard is dropped. It may be registered already, and stays so then.
    pub(crate) fn enter(&self) -> OwnThreadGuard {
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        *self.0.write().entry(tid).or_insert(0) += 1;
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
        let mut threads = self.threads.0.write();
        if let Some(times) = threads.get_mut(&self.tid) {
            *times -= 1;
            if *times == 0 {
                threads.remove(&self.tid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_registered_until_its_last_guard_is_dropped() {
        let threads = OwnThreads::default();
        let tid = nix::unistd::gettid().as_raw().unsigned_abs();
        assert!(!threads.contains(tid));
        let outer = threads.enter();
        let inner = threads.enter();
        drop(inner);
        assert!(threads.contains(tid));
        drop(outer);
        assert!(!threads.contains(tid));
    }
}
