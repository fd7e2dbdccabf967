//! The page of memory that the guard of a node shares with its worker.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The second word of the page: until when applications may commit, in nanoseconds of CLOCK_BOOTTIME.
const DEADLINE: u64 = 8;

/// Sets the deadline in the page of the guard with this process id.
#[track_caller]
pub(crate) fn set_deadline(guard: u32, after: Duration) {
    let files = fs::read_dir(format!("/proc/{guard}/fd")).expect("the guard runs");
    let page = files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            fs::read_link(path)
                .is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:litefs-guard"))
        })
        .expect("the guard has the page open");
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the clock is there"));
    let deadline = u64::try_from(now.saturating_add(after).as_nanos()).unwrap_or(u64::MAX);
    let page = File::options().write(true).open(page).expect("we are root");
    page.write_all_at(&deadline.to_le_bytes(), DEADLINE)
        .expect("it is memory");
}
