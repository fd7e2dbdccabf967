//! A clock that is the same in all processes.

use std::thread;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    let time = Duration::from(time);
    u64::try_from(time.as_nanos()).expect("less than five hundred years")
}

/// Makes this thread's short sleeps short: by default the kernel adds up to 50 microseconds.
pub(crate) fn sleep_precisely() {
    // Without it the figures are only a little coarser.
    let _ = set_timerslack(1);
}

/// Sleeps until `nanoseconds` of the clock; not at all if that has passed.
pub(crate) fn sleep_until(nanoseconds: u64) {
    thread::sleep(Duration::from_nanos(nanoseconds.saturating_sub(now())));
}
