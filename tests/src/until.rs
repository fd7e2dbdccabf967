//! Waiting for something that another process does.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at. The conditions are about other processes, which cannot wake us.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `deadline`; `what` says what did not come about.
#[track_caller]
pub fn until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_some(deadline, what, || condition().then_some(()));
}

/// Waits until `find` finds something.
///
/// # Panics
/// When it does not within `deadline`; `what` says what did not come about.
#[track_caller]
pub fn until_some<T>(deadline: Duration, what: &str, find: impl FnMut() -> Option<T>) -> T {
    match within(deadline, find) {
        Some(found) => found,
        None => panic!("not within {deadline:?}: {what}"),
    }
}

/// Waits until `find` finds something, but no longer than `deadline`.
pub fn within<T>(deadline: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let found = find();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        thread::sleep(LOOK_EVERY);
    }
}
