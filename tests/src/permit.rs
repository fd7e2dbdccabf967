//! How many stages may be set up at the same time in one test program: mounts and daemons are heavy, and deadlines
//! must not depend on how many threads the test runner uses.

use std::sync::{Condvar, Mutex, PoisonError};

/// Stages at a time. Most of a test is waiting, so this is more than the cores of a small machine.
const STAGES: usize = 4;

static FREE: Mutex<usize> = Mutex::new(STAGES);
static RETURNED: Condvar = Condvar::new();

/// The right to have one stage. Returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit(());

impl Permit {
    /// Waits for a free place.
    pub(crate) fn acquire() -> Permit {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = RETURNED
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Permit(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        RETURNED.notify_one();
    }
}
