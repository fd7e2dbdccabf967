//! The store's threads: as many as there is work for, none while there is none.
//!
//! Work on a database may wait for a lock or for the disk, so the number of threads is not tied to the number of
//! processors; it is bounded, and a thread without work ends after a while. 10,000 idle databases cost no thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::own_thread::OwnThreads;

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for work before it ends.
const LINGER: Duration = Duration::from_secs(10);

/// An elastic thread pool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    max_threads: usize,
    own: OwnThreads,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

impl Pool {
    /// A pool of at most `max_threads` threads, each registered as the store's own.
    pub(crate) fn new(max_threads: usize, own: OwnThreads) -> Pool {
        Pool(Arc::new(Inner {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            ended: Condvar::new(),
            max_threads,
            own,
        }))
    }

    /// Runs `job` on a thread of the pool as soon as one is free.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        state.queue.push_back(Box::new(job));
        if state.idle >= state.queue.len() {
            self.0.work.notify_one();
            return;
        }
        if state.threads < self.0.max_threads {
            state.threads += 1;
            let inner = self.0.clone();
            let spawned = std::thread::Builder::new()
                .name("litefs-store".into())
                .spawn(move || inner.run());
            if let Err(error) = spawned {
                // The job stays queued for the threads that exist; with none at all there is nothing left to do it.
                state.threads -= 1;
                tracing::error!(%error, "no thread for database work");
            }
        }
    }

    /// Waits until all threads have ended, at most `limit`. Used at close, after the last job was posted.
    pub(crate) fn join(&self, limit: Duration) {
        let deadline = std::time::Instant::now() + limit;
        let mut state = self.0.state.lock();
        while !(state.queue.is_empty() && state.idle == state.threads) {
            if self.0.ended.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Inner {
    fn run(&self) {
        let _own = self.own.enter();
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.queue.pop_front() {
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    // A panic is a bug in the job of one database; the others go on.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a database job panicked; see the message above");
                    }
                });
            }
            state.idle += 1;
            self.ended.notify_all();
            let timed_out = self.work.wait_for(&mut state, LINGER).timed_out();
            state.idle -= 1;
            // One stays: work must not depend on whether the system has a thread for us.
            if timed_out && state.queue.is_empty() && state.threads > 1 {
                state.threads -= 1;
                self.ended.notify_all();
                return;
            }
        }
    }
}
