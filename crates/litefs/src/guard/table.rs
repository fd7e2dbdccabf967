//! A page of memory that guard and worker share: until when the worker may let applications commit.
//!
//! Only the worker extends the deadline, and the guard looks at it when the old one has come. So a renewal costs one
//! store to memory, and a worker that is stopped has not renewed, whatever it was doing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::time::{ClockId, clock_gettime};

/// There is no deadline: a static lease, or no lease at all.
pub(crate) const NO_DEADLINE: u64 = u64::MAX;

const SIZE: usize = 4096;

/// What the first word says.
const LAYOUT: u64 = u64::from_le_bytes(*b"guard  1");

/// The words of the page.
#[derive(Clone, Copy)]
enum Word {
    Layout,
    /// Nanoseconds of CLOCK_BOOTTIME.
    Deadline,
    Epoch,
    /// How often the deadline was set.
    Heartbeat,
}

/// The page, mapped.
#[derive(Debug)]
pub(crate) struct Table {
    file: OwnedFd,
    page: NonNull<u8>,
}

// SAFETY: the page is only used through atomics, and is unmapped when the last owner drops the table.
unsafe impl Send for Table {}
// SAFETY: see above.
unsafe impl Sync for Table {}

impl Table {
    /// A new one, without a deadline.
    pub(crate) fn create() -> io::Result<Table> {
        let file = memfd_create(c"litefs-guard", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&file, SIZE as libc::off_t)?;
        let table = Table::map(file)?;
        table.word(Word::Layout).store(LAYOUT, Ordering::Relaxed);
        table
            .word(Word::Deadline)
            .store(NO_DEADLINE, Ordering::Release);
        Ok(table)
    }

    /// The one that the guard made.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Table> {
        let size = nix::sys::stat::fstat(&file)?.st_size;
        if size != SIZE as libc::off_t {
            return Err(io::Error::other("not the table of a guard"));
        }
        let table = Table::map(file)?;
        if table.word(Word::Layout).load(Ordering::Relaxed) != LAYOUT {
            return Err(io::Error::other("the table of another version's guard"));
        }
        Ok(table)
    }

    fn map(file: OwnedFd) -> io::Result<Table> {
        let size = std::num::NonZeroUsize::new(SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file that is at least this long, at an address that the kernel chooses.
        let page = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(Table {
            file,
            page: page.cast(),
        })
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        let offset = word as usize * size_of::<u64>();
        // SAFETY: the offset is within the page and a multiple of eight; the page is mapped as long as `self` lives and
        // is used by nothing but atomic operations, here and in the other process.
        unsafe { AtomicU64::from_ptr(self.page.as_ptr().add(offset).cast()) }
    }

    /// Until when applications may commit: nanoseconds of CLOCK_BOOTTIME, or [`NO_DEADLINE`].
    pub(crate) fn deadline(&self) -> u64 {
        self.word(Word::Deadline).load(Ordering::Acquire)
    }

    /// Sets it. `true` if it is earlier than it was: then the guard must be told.
    pub(crate) fn set_deadline(&self, deadline: u64) -> bool {
        self.word(Word::Heartbeat).fetch_add(1, Ordering::Relaxed);
        self.word(Word::Deadline).swap(deadline, Ordering::AcqRel) > deadline
    }

    #[cfg(test)]
    /// The epoch in which the worker is the primary; 0 if it is not.
    pub(crate) fn epoch(&self) -> u64 {
        self.word(Word::Epoch).load(Ordering::Acquire)
    }

    /// Sets the epoch.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.word(Word::Epoch).store(epoch, Ordering::Release);
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: mapped by `Table::map` with this size, and nothing refers to it any more.
        let _ = unsafe { munmap(self.page.cast(), SIZE) };
    }
}

/// The time since the machine was started, its sleep included.
pub(crate) fn boottime() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    // The clock is there on every kernel that has FUSE passthrough; a time that is never reached fences nothing, one
    // that always is fences at once.
    now.unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_deadline() {
        let guard = Table::create().unwrap();
        let worker = Table::open(guard.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(guard.deadline(), NO_DEADLINE);
        assert!(worker.set_deadline(100), "earlier than none");
        assert!(!worker.set_deadline(200), "an extension is no news");
        assert_eq!(guard.deadline(), 200);
        assert!(worker.set_deadline(150));
        worker.set_epoch(7);
        assert_eq!(guard.epoch(), 7);
        assert_eq!(guard.word(Word::Heartbeat).load(Ordering::Relaxed), 3);
    }

    #[test]
    fn something_else_is_refused() {
        let file = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(Table::open(file.try_clone().unwrap()).is_err());
        nix::unistd::ftruncate(&file, SIZE as libc::off_t).unwrap();
        assert!(Table::open(file).is_err());
    }
}
