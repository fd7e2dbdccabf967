//! Jobs that run later: one thread that sleeps until the next one is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// The timer of a store. Cheap to clone; the thread ends when [`Timer::stop`] is called.
#[derive(Clone)]
pub(crate) struct Timer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    stopped: bool,
}

struct Entry {
    at: Instant,
    sequence: u64,
    job: Job,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Timer {
    /// Starts the timer's thread.
    pub(crate) fn start() -> std::io::Result<Timer> {
        let inner = Arc::new(Inner::default());
        let runner = inner.clone();
        std::thread::Builder::new()
            .name("litefs-timer".into())
            .spawn(move || runner.run())?;
        Ok(Timer(inner))
    }

    /// Runs `job` on the timer's thread after `delay`. The job must be short: usually it posts to a strand.
    pub(crate) fn after(&self, delay: Duration, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        if state.stopped {
            return;
        }
        state.sequence += 1;
        let entry = Entry {
            at: Instant::now() + delay,
            sequence: state.sequence,
            job: Box::new(job),
        };
        let first = state.due.peek().is_none_or(|Reverse(next)| entry < *next);
        state.due.push(Reverse(entry));
        if first {
            self.0.changed.notify_one();
        }
    }

    /// Drops what is not yet due and ends the thread.
    pub(crate) fn stop(&self) {
        let mut state = self.0.state.lock();
        state.stopped = true;
        state.due.clear();
        self.0.changed.notify_one();
    }
}

impl Inner {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stopped {
            let Some(Reverse(next)) = state.due.peek() else {
                self.changed.wait(&mut state);
                continue;
            };
            let at = next.at;
            if at > Instant::now() {
                self.changed.wait_until(&mut state, at);
                continue;
            }
            if let Some(Reverse(entry)) = state.due.pop() {
                parking_lot::MutexGuard::unlocked(&mut state, entry.job);
            }
        }
    }
}
