//! A read transaction of a database in WAL mode, begun as SQLite's readers do (`walTryBeginRead`): what it sees stays
//! where it is, and neither writers nor checkpoints wait for it.

use std::time::{Duration, Instant};

use sqlite::lock;
use sqlite::wal_index::{READ_MARKS, WalIndexHeader};

use crate::error::Error;
use crate::locks::LockKind;
use crate::shared_index::SharedIndex;

/// How long to try to begin.
const LIMIT: Duration = Duration::from_secs(5);

/// The pause after a try that somebody was in the way of; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_micros(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// A shared lock on one of the read slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadMark {
    /// 0: only the database file is read, and nobody may write to it. 1 to 4: frames up to the slot's mark may be
    /// copied into the database file, and the log is not restarted.
    pub(crate) slot: usize,
    /// What is read: the database as of this header.
    pub(crate) header: WalIndexHeader,
}

impl SharedIndex {
    /// Begins to read what is committed now. The lock is held until [`SharedIndex::end_read`], or as long as the handle
    /// lives.
    pub(crate) fn begin_read(&mut self) -> Result<ReadMark, Error> {
        let deadline = Instant::now() + LIMIT;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Ok(header) = self.index.header()
                && let Some(mark) = self.try_begin_read(header)?
            {
                return Ok(mark);
            }
            if Instant::now() >= deadline {
                return Err(self.busy("a read mark", LIMIT));
            }
            // Whoever was in the way is between two steps of its own: there is nothing to wait for in the kernel.
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try to keep what `header` speaks of from being overwritten; what is committed after it may be there, too.
    /// `bare`: as a reader of the database file, which is not in the way of a restart of the log. `held` is held by the
    /// same handle.
    pub(crate) fn try_mark(
        &self,
        header: WalIndexHeader,
        bare: bool,
        held: Option<ReadMark>,
    ) -> Result<Option<ReadMark>, Error> {
        let held = held.map(|mark| mark.slot);
        if bare {
            self.try_begin_bare(header, held)
        } else {
            self.try_begin_marked(header, held, |now| now.salts == header.salts)
        }
    }

    /// One try. `None` if something changed meanwhile, or all slots are taken.
    fn try_begin_read(&self, header: WalIndexHeader) -> Result<Option<ReadMark>, Error> {
        if self.index.checkpoint_info().backfill >= header.mx_frame
            && let Some(mark) = self.try_begin_bare(header, None)?
        {
            return Ok(Some(mark));
        }
        // More frames may have been committed, and copied into the database file, before we had the lock.
        self.try_begin_marked(header, None, |now| now == header)
    }

    fn try_begin_bare(
        &self,
        header: WalIndexHeader,
        held: Option<usize>,
    ) -> Result<Option<ReadMark>, Error> {
        if !self.try_lock(lock::wal_read(0), LockKind::Shared)? {
            return Ok(None);
        }
        let backfilled = self.index.checkpoint_info().backfill >= header.mx_frame;
        if backfilled && self.index.header() == Ok(header) {
            return Ok(Some(ReadMark { slot: 0, header }));
        }
        if held != Some(0) {
            self.unlock(lock::wal_read(0))?;
        }
        Ok(None)
    }

    fn try_begin_marked(
        &self,
        header: WalIndexHeader,
        held: Option<usize>,
        still_good: impl FnOnce(WalIndexHeader) -> bool,
    ) -> Result<Option<ReadMark>, Error> {
        let info = self.index.checkpoint_info();
        let slot = match marked(&info.read_marks, header.mx_frame) {
            Some(slot) => Some(slot),
            None => self.mark_slot(header.mx_frame, held)?,
        };
        let Some(slot) = slot else { return Ok(None) };
        if !self.try_lock(lock::wal_read(slot), LockKind::Shared)? {
            return Ok(None);
        }
        let mark = self.index.checkpoint_info().read_marks[slot];
        if mark == header.mx_frame && self.index.header().is_ok_and(still_good) {
            return Ok(Some(ReadMark { slot, header }));
        }
        if held != Some(slot) {
            self.unlock(lock::wal_read(slot))?;
        }
        Ok(None)
    }

    /// Sets a mark that nobody uses. A lock that this handle holds would not be in its own way.
    fn mark_slot(&self, frame: u32, held: Option<usize>) -> Result<Option<usize>, Error> {
        for slot in (1..READ_MARKS).filter(|slot| held != Some(*slot)) {
            if self.try_lock(lock::wal_read(slot), LockKind::Exclusive)? {
                self.index.set_read_mark(slot, frame);
                self.unlock(lock::wal_read(slot))?;
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Ends it.
    pub(crate) fn end_read(&self, mark: &ReadMark) -> Result<(), Error> {
        self.unlock(lock::wal_read(mark.slot))
    }
}

/// The slot that is marked with this very frame.
fn marked(marks: &[u32; READ_MARKS], frame: u32) -> Option<usize> {
    (1..READ_MARKS).find(|&slot| marks[slot] == frame && frame > 0)
}
