//! A strand: jobs on one value, one after another, in the order in which they were posted, on threads of the pool.
//!
//! This is "the database's own thread" without a thread for each database. Whoever posts does not wait; a FUSE
//! worker hands over its reply object with the job and goes on.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

use crate::pool::Pool;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Serialises jobs on a `T`. Cheap to clone.
pub(crate) struct Strand<T>(Arc<Inner<T>>);

struct Inner<T> {
    pool: Pool,
    queue: Mutex<Queue<T>>,
    value: Mutex<T>,
}

struct Queue<T> {
    jobs: VecDeque<Job<T>>,
    /// A thread is draining the queue, or is about to.
    running: bool,
}

impl<T> Clone for Strand<T> {
    fn clone(&self) -> Self {
        Strand(self.0.clone())
    }
}

impl<T: Send + 'static> Strand<T> {
    /// A strand around `value`.
    pub(crate) fn new(pool: Pool, value: T) -> Strand<T> {
        let queue = Mutex::new(Queue {
            jobs: VecDeque::new(),
            running: false,
        });
        Strand(Arc::new(Inner {
            pool,
            queue,
            value: Mutex::new(value),
        }))
    }

    /// Queues `job`; returns at once.
    pub(crate) fn post(&self, job: impl FnOnce(&mut T) + Send + 'static) {
        let mut queue = self.0.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if !queue.running {
            queue.running = true;
            let inner = self.0.clone();
            self.0.pool.spawn(move || inner.drain());
        }
    }

    /// Queues `job` and waits for its result. Not from a job of the same strand, and not from a FUSE worker.
    ///
    /// `None` if the job panicked.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Option<R> {
        let (send, receive) = mpsc::sync_channel(1);
        self.post(move |value| {
            // The receiver waits in this very call.
            let _ = send.send(job(value));
        });
        receive.recv().ok()
    }
}

impl<T> Inner<T> {
    fn drain(&self) {
        let mut value = self.value.lock();
        loop {
            let job = {
                let mut queue = self.queue.lock();
                match queue.jobs.pop_front() {
                    Some(job) => job,
                    None => {
                        queue.running = false;
                        return;
                    }
                }
            };
            let run = std::panic::AssertUnwindSafe(|| job(&mut value));
            if std::panic::catch_unwind(run).is_err() {
                tracing::error!("a database job panicked; see the message above");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_thread::OwnThreads;

    #[test]
    fn jobs_run_in_order_and_never_at_the_same_time() {
        let strand = Strand::new(Pool::new(4, OwnThreads::default()), Vec::new());
        for i in 0..1000 {
            strand.post(move |list: &mut Vec<i32>| list.push(i));
        }
        let list = strand.call(|list| list.clone()).unwrap();
        assert_eq!(list, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_panicking_job_leaves_the_strand_usable() {
        let strand = Strand::new(Pool::new(4, OwnThreads::default()), 7);
        assert_eq!(
            strand.call(|_: &mut i32| -> i32 { panic!("on purpose") }),
            None
        );
        assert_eq!(strand.call(|value| *value), Some(7));
    }
}
