//! Open-file-description locks: how the daemon takes part in SQLite's locking.
//!
//! They conflict properly with the POSIX locks that SQLite takes, belong to the open file and not to the process
//! (closing another descriptor does not drop them), and stay in the kernel: no FUSE request.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer as PosixTimer, TimerSetTimeFlags};
use nix::time::ClockId;
use sqlite::lock::LockRange;

/// Shared or exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// The signal that ends a wait for a lock. Its handler does nothing; it only makes the system call return.
const WAKE: Signal = Signal::SIGUSR2;

/// The wake-up repeats, in case the first one comes just before the thread enters the system call.
const WAKE_REPEAT: Duration = Duration::from_millis(5);

fn flock(range: LockRange, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start as libc::off_t,
        l_len: range.len as libc::off_t,
        l_pid: 0,
    }
}

impl LockKind {
    fn raw(self) -> libc::c_int {
        match self {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        }
    }
}

fn fcntl(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call and `lock` is a valid flock that the kernel may
    // read and, for GETLK, write.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, lock as *mut libc::flock) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes the lock if nobody is in the way. `false` if somebody is.
pub(crate) fn try_lock(file: &File, range: LockRange, kind: LockKind) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, &mut flock(range, kind.raw())) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives the lock back.
pub(crate) fn unlock(file: &File, range: LockRange) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLK, &mut flock(range, libc::F_UNLCK))
}

/// Whether somebody else's lock stands in the way of `kind` on `range`.
pub(crate) fn is_held_by_another(
    file: &File,
    range: LockRange,
    kind: LockKind,
) -> io::Result<bool> {
    let mut lock = flock(range, kind.raw());
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// Waits for the lock at most `limit`, in the kernel's queue and not by asking again. `false` if it was not to be had.
pub(crate) fn lock_within(
    file: &File,
    range: LockRange,
    kind: LockKind,
    limit: Duration,
) -> io::Result<bool> {
    if try_lock(file, range, kind)? {
        return Ok(true);
    }
    let deadline = Instant::now() + limit;
    let _alarm = Alarm::set(limit)?;
    loop {
        match fcntl(file, libc::F_OFD_SETLKW, &mut flock(range, kind.raw())) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
            }
            // Two waiters for each other: let the caller start over.
            Err(error) if error.raw_os_error() == Some(libc::EDEADLK) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// The same against somebody who takes the lock again as soon as it is free: the kernel wakes who waits, but does not keep
/// the lock for it. So the second half of the time is spent asking.
pub(crate) fn lock_eagerly(
    file: &File,
    range: LockRange,
    kind: LockKind,
    limit: Duration,
) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    if lock_within(file, range, kind, limit / 2)? {
        return Ok(true);
    }
    while Instant::now() < deadline {
        if try_lock(file, range, kind)? {
            return Ok(true);
        }
        std::hint::spin_loop();
    }
    Ok(false)
}

/// A timer that interrupts the calling thread's system calls from a moment on, until it is dropped.
struct Alarm(
    #[expect(dead_code, reason = "held for its Drop, which disarms the timer")] PosixTimer,
);

impl Alarm {
    fn set(after: Duration) -> io::Result<Alarm> {
        install_handler()?;
        let notify = SigevNotify::SigevThreadId {
            signal: WAKE,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        };
        let mut timer = PosixTimer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        let first = TimeSpec::from_duration(after.max(Duration::from_micros(1)));
        let expiration = Expiration::IntervalDelayed(first, TimeSpec::from_duration(WAKE_REPEAT));
        timer.set(expiration, TimerSetTimeFlags::empty())?;
        Ok(Alarm(timer))
    }
}

extern "C" fn nothing(_: libc::c_int) {}

fn install_handler() -> io::Result<()> {
    static INSTALLED: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if INSTALLED.get().is_none() {
        // No SA_RESTART: the point is that the system call returns.
        let action = SigAction::new(
            SigHandler::Handler(nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing, so it is async-signal-safe.
        unsafe { sigaction(WAKE, &action) }?;
        INSTALLED.get_or_init(|| ());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_handles() -> (tempfile::TempDir, File, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap()
        };
        let (a, b) = (open(), open());
        (dir, a, b)
    }

    const RANGE: LockRange = LockRange { start: 120, len: 1 };

    #[test]
    fn a_wait_ends_at_its_limit() {
        let (_dir, a, b) = two_handles();
        assert!(try_lock(&a, RANGE, LockKind::Exclusive).unwrap());
        assert!(is_held_by_another(&b, RANGE, LockKind::Shared).unwrap());
        let begun = Instant::now();
        assert!(!lock_within(&b, RANGE, LockKind::Shared, Duration::from_millis(30)).unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_wait_ends_when_the_holder_lets_go() {
        let (_dir, a, b) = two_handles();
        assert!(try_lock(&a, RANGE, LockKind::Exclusive).unwrap());
        let waiter = std::thread::spawn(move || {
            lock_within(&b, RANGE, LockKind::Exclusive, Duration::from_secs(20)).unwrap()
        });
        unlock(&a, RANGE).unwrap();
        assert!(waiter.join().unwrap());
    }
}
