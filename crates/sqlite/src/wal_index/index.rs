use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{Ordering, fence};

use ltx::Pgno;

use super::block::{BLOCK_SIZE, Block, Place};
use super::blocks::Blocks;
use super::header::{from_native, to_native};
use super::{CheckpointInfo, READ_MARKS, WalIndexHeader};

/// What a [`WalIndex`] may do with the -shm file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look only; methods that change the index panic.
    ReadOnly,
    /// Look and change; the file must be open for reading and writing.
    ReadWrite,
}

/// Why a wal-index has no header to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexState {
    /// The file is shorter than a block: nobody has begun to build the index.
    #[error("wal-index is missing")]
    Missing,
    /// The index exists and is not built yet.
    #[error("wal-index is not initialised")]
    Uninitialised,
    /// The two copies of the header differ, its checksum, version or page size is wrong, or it names frames
    /// behind the end of the file. Seen without `WAL_WRITE` this can be a header that is just being written;
    /// seen with it, the index must be rebuilt.
    #[error("wal-index header is torn")]
    Torn,
    /// The file could not be examined or mapped.
    #[error("wal-index is unreadable: {0}")]
    Unreadable(io::ErrorKind),
}

/// The words of the first block at which its parts begin.
const SECOND_COPY: usize = HEADER_WORDS;
const BACKFILL: usize = 2 * HEADER_WORDS;
const FIRST_READ_MARK: usize = BACKFILL + 1;
const BACKFILL_ATTEMPTED: usize = 128 / 4;

/// The words of one copy of the header.
const HEADER_WORDS: usize = WalIndexHeader::SIZE / 4;

/// The wal-index of one database, mapped from a -shm file block by block as blocks are needed.
///
/// See the [module](super) for the locks: `WAL_DMS` must be held shared for as long as a `WalIndex` lives, or a
/// shrinking file makes any method die of SIGBUS. Nothing here changes a lock; [`file`](Self::file) is there to
/// lock it.
#[derive(Debug)]
pub struct WalIndex {
    file: File,
    access: Access,
    blocks: Blocks,
}

impl WalIndex {
    /// Takes a -shm file. It must be the file that SQLite has mapped: on a mount, opened through that mount.
    ///
    /// Locks: `WAL_DMS` shared, on `file` or otherwise. The file is not extended, it may well be empty.
    ///
    /// # Errors
    ///
    /// If the file cannot be examined, or its first block is there and cannot be mapped.
    pub fn open(file: File, access: Access) -> io::Result<WalIndex> {
        let index = WalIndex {
            file,
            access,
            blocks: Blocks::default(),
        };
        index.block(0)?;
        Ok(index)
    }

    /// The -shm file, for its locks.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The header, if there is a valid one. Everything it speaks of is mapped afterwards: look-ups up to its
    /// `mx_frame` cannot fail for want of a mapping.
    ///
    /// Locks: none but `WAL_DMS`; it is a snapshot. With `WAL_WRITE` it stays true.
    ///
    /// # Errors
    ///
    /// See [`IndexState`].
    pub fn header(&self) -> Result<WalIndexHeader, IndexState> {
        let unreadable = |error: io::Error| IndexState::Unreadable(error.kind());
        let block = self
            .block(0)
            .map_err(unreadable)?
            .ok_or(IndexState::Missing)?;
        // The reverse of the order in which `publish` stores them.
        let first = block.load::<HEADER_WORDS>(0);
        fence(Ordering::SeqCst);
        let second = block.load::<HEADER_WORDS>(SECOND_COPY);
        // Look-ups and the checkpoint information come after both.
        fence(Ordering::Acquire);
        if first != second {
            return Err(IndexState::Torn);
        }
        let bytes = first.map(to_native);
        let bytes = bytes.as_flattened();
        if bytes[12] == 0 {
            return Err(IndexState::Uninitialised);
        }
        let header = WalIndexHeader::parse(bytes).map_err(|_| IndexState::Torn)?;
        if let Some(last) = Place::of(header.mx_frame) {
            self.block(last.block)
                .map_err(unreadable)?
                .ok_or(IndexState::Torn)?;
        }
        Ok(header)
    }

    /// Makes both copies of the header `header`, as initialised, the second copy first. This is the commit:
    /// from here on readers see the frames up to `header.mx_frame`, which must be in the -wal file and entered
    /// with [`append`](Self::append).
    ///
    /// Locks: `WAL_WRITE`. For a restart of the log (`mx_frame` 0) also `WAL_READ_1_4`, which proves that no
    /// reader uses the log, and `WAL_CKPT`, since a checkpointer may have read the old header.
    ///
    /// # Panics
    ///
    /// If neither [`header`](Self::header) nor [`reserve`](Self::reserve) has succeeded before, or the index was
    /// opened [`Access::ReadOnly`].
    pub fn publish(&mut self, header: &WalIndexHeader) {
        let bytes = WalIndexHeader {
            is_init: true,
            ..*header
        }
        .encode();
        let (words, _) = bytes.as_chunks::<4>();
        let words: [u32; HEADER_WORDS] = std::array::from_fn(|i| from_native(words[i]));
        let block = self.first_block_writable();
        block.store(SECOND_COPY, &words);
        // Also puts the entries of the frames before the copy that makes them visible.
        fence(Ordering::SeqCst);
        block.store(0, &words);
    }

    /// How far the log is checkpointed, and the read marks.
    ///
    /// Locks: none but `WAL_DMS`; each value is a snapshot of its own. `backfill` grows under `WAL_CKPT` and is
    /// set to 0 under `WAL_WRITE` only.
    ///
    /// # Panics
    ///
    /// If neither [`header`](Self::header) nor [`reserve`](Self::reserve) has succeeded before.
    pub fn checkpoint_info(&self) -> CheckpointInfo {
        let block = self.first_block();
        let [backfill] = block.load(BACKFILL);
        let [backfill_attempted] = block.load(BACKFILL_ATTEMPTED);
        CheckpointInfo {
            backfill,
            read_marks: block.load(FIRST_READ_MARK),
            backfill_attempted,
        }
    }

    /// Sets them. For a restart of the log: [`publish`](Self::publish) a header with `mx_frame` 0 and
    /// [`Salts::next`](crate::wal::Salts::next), then set [`CheckpointInfo::RESTARTED`], then release the locks.
    ///
    /// Locks: `WAL_WRITE`, `WAL_CKPT` and `WAL_READ_1_4`.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish).
    pub fn set_checkpoint_info(&self, info: CheckpointInfo) {
        let block = self.first_block_writable();
        block.store(BACKFILL, &[info.backfill]);
        block.store(BACKFILL_ATTEMPTED, &[info.backfill_attempted]);
        block.store(FIRST_READ_MARK, &info.read_marks);
    }

    /// Notes, before any page is copied, that the frames up to this one are going to be copied into the database
    /// file.
    ///
    /// Locks: `WAL_CKPT` and `wal_read(0)` exclusive.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish).
    pub fn set_backfill_attempted(&self, frame: u32) {
        self.first_block_writable()
            .store(BACKFILL_ATTEMPTED, &[frame]);
    }

    /// Notes that the frames up to this one are in the database file, and that this is synced.
    ///
    /// Locks: `WAL_CKPT` and `wal_read(0)` exclusive.
    ///
    /// # Panics
    ///
    /// As [`publish`](Self::publish).
    pub fn set_backfill(&self, frame: u32) {
        self.first_block_writable().store(BACKFILL, &[frame]);
    }

    /// Sets one read mark: the last frame that readers under its slot use.
    ///
    /// Locks: `wal_read(slot)` exclusive. To read up to that frame then: release it, take it shared, and check
    /// that neither the mark nor the header has changed meanwhile.
    ///
    /// # Panics
    ///
    /// If `slot` is above 4, and as [`publish`](Self::publish).
    pub fn set_read_mark(&self, slot: usize, value: u32) {
        assert!(slot < READ_MARKS, "a wal-index has read marks 0 to 4");
        self.first_block_writable()
            .store(FIRST_READ_MARK + slot, &[value]);
    }

    /// Extends the file and maps it so that the entry of frame `frame` has its place; with frame 0 the header
    /// has. To be called before the frames are written, so that what may fail fails first.
    ///
    /// Locks: `WAL_WRITE`; otherwise another process may be filling what this extends.
    ///
    /// # Errors
    ///
    /// What the system says of the write (out of space) or of the mapping.
    ///
    /// # Panics
    ///
    /// If the index was opened [`Access::ReadOnly`].
    pub fn reserve(&mut self, frame: u32) -> io::Result<()> {
        self.assert_writable();
        let last = Place::of(frame).map_or(0, |place| place.block);
        if self.blocks.get(last).is_none() {
            self.extend(last as u64 + 1)?;
            self.block(last)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(())
    }

    /// Enters page and hash slot of a frame that is in the -wal file and not yet committed. Frames are to be
    /// entered in order, from `current_mx_frame + 1` on. Remnants of a writer that died without a commit are
    /// removed on the way. Readers do not see the entry before [`publish`](Self::publish).
    ///
    /// Locks: `WAL_WRITE`. `current_mx_frame` is that of the header read under it, or 0 after a restart.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the frame is already committed (readers may be using its entry); `InvalidData` if the
    /// hash table is damaged; else as [`reserve`](Self::reserve).
    ///
    /// # Panics
    ///
    /// If the index was opened [`Access::ReadOnly`].
    pub fn append(&mut self, frame: u32, pgno: Pgno, current_mx_frame: u32) -> io::Result<()> {
        let place = Place::of(frame)
            .filter(|_| frame > current_mx_frame)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "wal-index entry is of a committed frame",
                )
            })?;
        self.reserve(frame)?;
        let block = self
            .blocks
            .get(place.block)
            .ok_or(io::ErrorKind::NotFound)?;
        block.append(place.entry, pgno)
    }

    /// The page of a frame; `None` for a frame that was never entered.
    ///
    /// Locks: a read mark at or above `frame`, or `WAL_WRITE`. Only frames up to the `mx_frame` of a
    /// [`header`](Self::header) of this `WalIndex` mean anything.
    pub fn page_of_frame(&self, frame: u32) -> Option<Pgno> {
        let place = Place::of(frame)?;
        self.mapped(place.block)?.page(place.entry)
    }

    /// The latest frame not above `max_frame` that holds `pgno`; `None` if the page is in the database file.
    ///
    /// Locks: a read mark at or above `max_frame`, or `WAL_WRITE`. `max_frame` must be at most the `mx_frame` of
    /// a [`header`](Self::header) of this `WalIndex`, or a frame appended through it: these are mapped.
    pub fn find(&self, pgno: Pgno, max_frame: u32) -> Option<u32> {
        let last = Place::of(max_frame)?.block;
        for number in (0..=last).rev() {
            let found = self.mapped(number)?.find(pgno, max_frame);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The block, mapped if the file has it; blocks before it are mapped, too.
    fn block(&self, number: usize) -> io::Result<Option<&Block>> {
        if let Some(block) = self.blocks.get(number) {
            return Ok(Some(block));
        }
        // A mapping may reach behind the end of the file; an access there is a SIGBUS. Checked once: see the
        // module on why the file does not shrink.
        let present = self.file.metadata()?.len() / BLOCK_SIZE as u64;
        if number as u64 >= present {
            return Ok(None);
        }
        for earlier in 0..=number {
            if self.blocks.get(earlier).is_none() {
                self.blocks
                    .insert(earlier, Block::map(&self.file, earlier, self.access)?);
            }
        }
        Ok(self.blocks.get(number))
    }

    /// The block for a look-up; a failure to map it can only concern frames that no header has spoken of.
    fn mapped(&self, number: usize) -> Option<&Block> {
        self.block(number).ok().flatten()
    }

    /// Extends the file to `blocks` blocks. As SQLite does, by a byte at the end of each page: a page that exists
    /// in size alone is allocated when it is first stored to, and if there is no space then, that is a SIGBUS.
    fn extend(&mut self, blocks: u64) -> io::Result<()> {
        const PAGE: u64 = 4096;
        let (present, wanted) = (self.file.metadata()?.len(), blocks * BLOCK_SIZE as u64);
        for page in present / PAGE..wanted / PAGE {
            self.file.write_all_at(&[0], page * PAGE + PAGE - 1)?;
        }
        Ok(())
    }

    fn first_block(&self) -> &Block {
        self.blocks
            .get(0)
            .expect("the wal-index has a first block once its header was read")
    }

    fn first_block_writable(&self) -> &Block {
        self.assert_writable();
        self.first_block()
    }

    fn assert_writable(&self) {
        assert_eq!(
            self.access,
            Access::ReadWrite,
            "the wal-index was opened read-only"
        );
    }
}
