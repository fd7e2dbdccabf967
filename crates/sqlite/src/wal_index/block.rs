//! One 32 KiB block of the shared memory: the only place that touches the mapping.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use ltx::Pgno;
use memmap2::{MmapOptions, MmapRaw};

use super::Access;

/// The size of a block in bytes.
pub(super) const BLOCK_SIZE: usize = 32 * 1024;

/// The 32-bit words of a block before its hash table.
const WORDS: usize = 4096;

/// The slots of a hash table: twice the frames, so that there is always a free one.
const SLOTS: usize = 2 * WORDS;

/// The words that the header of the index takes of the first block.
const HEADER_WORDS: usize = 136 / 4;

/// The frames of the first block.
const FRAMES_IN_FIRST: u32 = (WORDS - HEADER_WORDS) as u32;

/// The frames of each later block.
const FRAMES: u32 = WORDS as u32;

/// Where the entries of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The block, from 0.
    pub(super) block: usize,
    /// The index in the block's page numbers, from 0. Its hash slots hold this plus one.
    pub(super) entry: usize,
}

impl Place {
    /// `None` for frame 0, which does not exist.
    pub(super) fn of(frame: u32) -> Option<Place> {
        let index = frame.checked_sub(1)?;
        Some(match index.checked_sub(FRAMES_IN_FIRST) {
            None => Place {
                block: 0,
                entry: index as usize,
            },
            Some(beyond) => Place {
                block: 1 + (beyond / FRAMES) as usize,
                entry: (beyond % FRAMES) as usize,
            },
        })
    }
}

/// A mapped block.
#[derive(Debug)]
pub(super) struct Block {
    map: MmapRaw,
    /// Its number; the first has a header and therefore fewer frames.
    number: usize,
}

impl Block {
    /// Maps block `number`, which must lie within the file.
    pub(super) fn map(file: &File, number: usize, access: Access) -> io::Result<Block> {
        let mut options = MmapOptions::new();
        options
            .offset(number as u64 * BLOCK_SIZE as u64)
            .len(BLOCK_SIZE);
        let map = match access {
            Access::ReadOnly => options.map_raw_read_only(file)?,
            Access::ReadWrite => options.map_raw(file)?,
        };
        Ok(Block { map, number })
    }

    /// The words of the block before the hash table, header included.
    fn words(&self) -> &[AtomicU32; WORDS] {
        // SAFETY: the mapping is BLOCK_SIZE bytes, aligned to 4 KiB at least, and lives as long as `self`. Atomic
        // integers have the layout of plain ones, and shared memory is accessed in no other way here. Other
        // processes change it at will, which atomics allow for. On a read-only mapping only `Relaxed` loads are
        // done (stores are refused by WalIndex), which the standard library allows for.
        unsafe { &*self.map.as_mut_ptr().cast::<[AtomicU32; WORDS]>() }
    }

    /// The hash table: the second half of the block.
    fn slots(&self) -> &[AtomicU16; SLOTS] {
        // SAFETY: as for `words`; the 16 KiB behind the WORDS words are the rest of the mapping, so that no byte
        // is accessed with two different sizes.
        unsafe {
            &*self
                .map
                .as_mut_ptr()
                .add(WORDS * 4)
                .cast::<[AtomicU16; SLOTS]>()
        }
    }

    /// The page numbers, by entry.
    fn pages(&self) -> &[AtomicU32] {
        &self.words()[if self.number == 0 { HEADER_WORDS } else { 0 }..]
    }

    /// The frame of entry 0, less one.
    fn frames_before(&self) -> u64 {
        match self.number.checked_sub(1) {
            None => 0,
            Some(earlier) => u64::from(FRAMES_IN_FIRST) + earlier as u64 * u64::from(FRAMES),
        }
    }

    /// Loads `N` successive words of the header.
    pub(super) fn load<const N: usize>(&self, word: usize) -> [u32; N] {
        std::array::from_fn(|i| self.words()[word + i].load(Relaxed))
    }

    /// Stores successive words of the header.
    pub(super) fn store(&self, word: usize, values: &[u32]) {
        for (to, &value) in self.words()[word..].iter().zip(values) {
            to.store(value, Relaxed);
        }
    }

    /// The page number of an entry.
    pub(super) fn page(&self, entry: usize) -> Option<Pgno> {
        Pgno::new(self.pages().get(entry)?.load(Relaxed))
    }

    /// The latest frame of `pgno` that is not above `max_frame` and in this block.
    pub(super) fn find(&self, pgno: Pgno, max_frame: u32) -> Option<u32> {
        let mut latest = None;
        for slot in probe(pgno) {
            let value = self.slots()[slot].load(Relaxed);
            let Some(entry) = usize::from(value).checked_sub(1) else {
                break;
            };
            // The page number was stored before the slot; pairs with the release in `append`.
            fence(Ordering::Acquire);
            // Slots filled after the caller's snapshot may hold anything, hence both conditions.
            let frame = u32::try_from(self.frames_before() + u64::from(value)).ok();
            if frame.is_some_and(|frame| frame <= max_frame) && self.page(entry) == Some(pgno) {
                latest = latest.max(frame);
            }
        }
        latest
    }

    /// Enters the page of a frame: `entry` must be the one behind the last valid entry. The page number is
    /// stored before the slot that leads to it, for readers probe concurrently.
    ///
    /// `InvalidData` if the hash table has no room, which only a damaged one can have.
    pub(super) fn append(&self, entry: usize, pgno: Pgno) -> io::Result<()> {
        let (Some(page), Ok(value)) = (self.pages().get(entry), u16::try_from(entry + 1)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if entry == 0 {
            self.clear();
        } else if page.load(Relaxed) != 0 {
            self.remove_from(entry);
        }
        // At most `entry` slots are in use, so that many collisions and no more.
        let free = probe(pgno)
            .take(entry + 1)
            .find(|&slot| self.slots()[slot].load(Relaxed) == 0);
        let Some(slot) = free else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "wal-index hash table is damaged",
            ));
        };
        page.store(pgno.get(), Relaxed);
        self.slots()[slot].store(value, Ordering::Release);
        Ok(())
    }

    /// Empties the block: what is in it is of an earlier generation.
    fn clear(&self) {
        self.pages().iter().for_each(|page| page.store(0, Relaxed));
        self.slots().iter().for_each(|slot| slot.store(0, Relaxed));
    }

    /// Removes the entries from `entry` on: remnants of a writer that died between its first frame and its
    /// commit. Slots of valid entries stay where they are, since each was placed before those removed.
    fn remove_from(&self, entry: usize) {
        for slot in self.slots() {
            if usize::from(slot.load(Relaxed)) > entry {
                slot.store(0, Relaxed);
            }
        }
        for page in &self.pages()[entry..] {
            page.store(0, Relaxed);
        }
    }
}

/// The slots in which an entry of `pgno` can be, in order, each once.
fn probe(pgno: Pgno) -> impl Iterator<Item = usize> {
    let start = pgno.get().wrapping_mul(383) as usize;
    (0..SLOTS).map(move |i| (start + i) % SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_where_sqlite_puts_them() {
        assert_eq!(Place::of(0), None);
        assert_eq!(Place::of(1), Some(Place { block: 0, entry: 0 }));
        assert_eq!(
            Place::of(4062),
            Some(Place {
                block: 0,
                entry: 4061
            })
        );
        assert_eq!(Place::of(4063), Some(Place { block: 1, entry: 0 }));
        assert_eq!(
            Place::of(4062 + 4096),
            Some(Place {
                block: 1,
                entry: 4095
            })
        );
        assert_eq!(Place::of(4063 + 4096), Some(Place { block: 2, entry: 0 }));
        assert_eq!(Place::of(u32::MAX).map(|place| place.block), Some(1 << 20));
    }
}
