//! An end to every test: a daemon that does not answer blocks its callers beyond the reach of signals.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::mount::{abort, mounts_below};
use crate::process::{kill_tagged, print_waits};

/// Aborts the mounts below a directory and kills the processes with a tag unless dropped in time.
#[derive(Debug)]
pub(crate) struct Watchdog {
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    bitten: Arc<AtomicBool>,
}

impl Watchdog {
    /// Starts to count.
    pub(crate) fn new(limit: Duration, directory: PathBuf, tag: String) -> Watchdog {
        let (over, ended) = channel::<()>();
        let bitten = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&bitten);
        let thread = thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                eprintln!(
                    "the test has run for {limit:?}: its mounts are aborted and its processes killed"
                );
                // First of all: a process that waits for a mount may be in the way of everybody who looks at it.
                mounts_below(&directory)
                    .iter()
                    .for_each(|point| abort(point));
                print_waits(&tag);
                kill_tagged(&tag);
            }
        });
        Watchdog {
            over: Some(over),
            thread: Some(thread),
            bitten,
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.over.take());
        let joined = self
            .thread
            .take()
            .is_none_or(|thread| thread.join().is_ok());
        let in_time = joined && !self.bitten.load(Ordering::SeqCst);
        assert!(
            in_time || thread::panicking(),
            "the test has exceeded its time limit"
        );
    }
}
