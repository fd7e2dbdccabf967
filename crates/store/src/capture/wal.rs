//! Capture in WAL mode: read the frames that were committed since the last captured one, from the backing -wal.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ltx::{Checksum, PageSize, Pgno};
use sqlite::header::DatabaseHeader;
use sqlite::wal::{FrameChain, FrameHeader, Salts, WalHeader, frame_offset};
use sqlite::wal_index::WalIndexHeader;

use super::Occasion;
use super::mark::ProvenEnd;
use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::name::FileKind;
use crate::shared_index::{open_existing, read_full, read_header};
use crate::transaction::{ChangedPages, Extent};
use crate::view::{logical_page_count, read_page};
use crate::watch::Watch;

/// How much of the -wal is read at once, in bytes.
const CHUNK: usize = 1024 * 1024;

/// How often to look again for a commit whose frames are there and whose wal-index header is not: 20 us, doubled
/// each time, so about 20 ms in all.
const LOOKS: u32 = 10;
const FIRST_LOOK: Duration = Duration::from_micros(20);

/// How often to look while a writer goes on holding its lock behind a complete commit frame (it was stopped between
/// the two).
const SLOW_LOOK: Duration = Duration::from_millis(100);

/// The place in the log up to which it is captured.
#[derive(Default)]
pub(crate) struct WalCapture {
    /// The backing -wal, while there is one.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) watch: Option<Watch>,
    /// On the database file, while its writes matter and are not seen.
    pub(crate) database_watch: Option<Watch>,
    /// `None` before the first generation is seen, and after the log was emptied or removed.
    pub(crate) chain: Option<FrameChain>,
    /// A generation began without a sync of its header: some connection runs at synchronous=OFF.
    pub(crate) unsynced_seen: bool,
    pub(super) proven_end: Option<ProvenEnd>,
    pub(crate) looks: u32,
    /// The last header of the wal-index that was seen: how far a generation was published.
    last_index: Option<WalIndexHeader>,
    buffer: Vec<u8>,
}

/// Commits that were read from the log and are not published yet.
struct Batch {
    /// Page -> where its last version is in the -wal, and its checksum.
    pages: BTreeMap<Pgno, (u64, Checksum)>,
    commits: u64,
    page_count: u32,
    /// The place after the last commit.
    end: FrameChain,
    /// The bytes of the -wal that were read last, and where they begin.
    window: (u64, Vec<u8>),
}

/// How far the frames may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Up to this frame, which is published: a chain that breaks before it is doubt.
    Published(u32),
    /// As far as the chain holds: the generation is closed, so all of it is in the database file.
    Closed,
    /// As far as the chain holds: there is no shared index, and what is in the log now may be overwritten.
    Chain,
    /// As far as the chain holds, but not the newest commit: without a shared index it is not known whether that is
    /// decided.
    Undecided,
}

impl Core {
    pub(crate) fn capture_wal(&mut self, occasion: Occasion) -> Result<(), Error> {
        if occasion != Occasion::End {
            // At the end the request that is held has the directory locked: opening files by name would wait for it.
            self.join_if_open()?;
            self.hold_open_files();
            self.move_read_mark()?;
        }
        self.capture_log(occasion)?;
        self.move_read_mark()
    }

    fn capture_log(&mut self, occasion: Occasion) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Wal);
        let Some(file) = self.wal_file()? else {
            return Ok(());
        };
        loop {
            let header = read_header(&file, &path)?;
            self.follow_rewritten_header(header.as_ref());
            let Some(chain) = self.wal.chain.clone() else {
                let Some(header) = header else { return Ok(()) };
                self.begin_generation(&header);
                continue;
            };
            let index = self
                .joined
                .as_ref()
                .and_then(|joined| joined.shm.index.header().ok());
            if index.is_some() {
                self.wal.last_index = index;
            }
            // Once the index is gone, nothing is published any more than it said.
            let gone = self
                .wal
                .last_index
                .filter(|index| self.joined.is_none() && index.salts == chain.salts());
            let index = index.or(gone);
            let bound = bound(&chain, header.as_ref(), index.as_ref(), occasion);
            self.take_commits(&file, &chain, bound)?;
            match header {
                Some(header) if header.salts != chain.salts() => {
                    self.end_generation(&file, &header)?
                }
                _ => return Ok(()),
            }
        }
    }

    /// Captures what `index` says is committed, and nothing that was committed after it was read. The caller
    /// holds a read mark, so the generation of `index` is not ended by a restart while it has frames to be backfilled.
    pub(crate) fn capture_up_to(&mut self, index: &WalIndexHeader) -> Result<(), Error> {
        if !self.may_capture() {
            return Ok(());
        }
        let path = self.dir().file(FileKind::Wal);
        let Some(file) = self.wal_file()? else {
            return Ok(());
        };
        let header = read_header(&file, &path)?;
        self.follow_rewritten_header(header.as_ref());
        let of_index = header.filter(|header| header.salts == index.salts);
        if let Some(chain) = self.wal.chain.clone() {
            let bound = bound(&chain, header.as_ref(), Some(index), Occasion::Sync);
            self.take_commits(&file, &chain, bound)?;
            match of_index {
                Some(header) if header.salts != chain.salts() => {
                    self.end_generation(&file, &header)?
                }
                _ => return Ok(()),
            }
        } else if let Some(header) = of_index {
            self.begin_generation(&header);
        }
        match self.wal.chain.clone() {
            Some(chain) if chain.salts() == index.salts => {
                self.take_commits(&file, &chain, Bound::Published(index.mx_frame))
            }
            _ => Ok(()),
        }
    }

    /// Captures the log up to `end`, where it ends for every connection.
    pub(crate) fn capture_published(&mut self, end: &FrameChain) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Wal);
        let Some(file) = self.wal_file()? else {
            return Ok(());
        };
        if self.wal.chain.is_none()
            && let Some(header) = read_header(&file, &path)?
        {
            self.begin_generation(&header);
        }
        match self.wal.chain.clone() {
            Some(chain) if chain.salts() == end.salts() => {
                self.take_commits(&file, &chain, Bound::Published(end.frame()))
            }
            _ => self.diff("the log was restarted unseen"),
        }
    }

    /// The backing -wal; kept open from one capture to the next.
    fn wal_file(&mut self) -> Result<Option<Arc<File>>, Error> {
        if self.wal.file.is_none() {
            let path = self.dir().file(FileKind::Wal);
            self.wal.file = open_existing(&path)?.map(Arc::new);
            if self.wal.file.is_some() && self.wal.watch.is_none() {
                self.wal.watch = self
                    .database()
                    .map(|db| self.env().watcher.watch(&path, &db));
            }
        }
        Ok(self.wal.file.clone())
    }

    /// Is woken from here on when something is written to the log.
    pub(crate) fn watch_log(&mut self) -> Result<(), Error> {
        self.wal_file().map(|_| ())
    }

    /// Before the first commit of a generation another connection may write the header again, with the same salts and
    /// its own checkpoint counter (after a rollback): the checksums of the frames then begin anew.
    fn follow_rewritten_header(&mut self, header: Option<&WalHeader>) {
        let unused = self.wal.chain.as_ref().filter(|chain| chain.frame() == 0);
        if let (Some(chain), Some(header)) = (unused, header)
            && chain.salts() == header.salts
        {
            self.wal.chain = Some(FrameChain::new(header));
        }
    }

    pub(crate) fn begin_generation(&mut self, header: &WalHeader) {
        self.set_chain(FrameChain::new(header));
    }

    /// Goes on capturing from here.
    pub(crate) fn set_chain(&mut self, chain: FrameChain) {
        let Salts { salt1, salt2 } = chain.salts();
        self.shared
            .captured_salts
            .store(u64::from(salt1) << 32 | u64::from(salt2), Ordering::Release);
        self.wal.chain = Some(chain);
    }

    /// The log is gone or empty, and was captured to its end.
    pub(crate) fn forget_generation(&mut self) {
        self.shared.captured_salts.store(0, Ordering::Release);
        self.wal.chain = None;
    }

    fn take_commits(&mut self, file: &File, chain: &FrameChain, bound: Bound) -> Result<(), Error> {
        if matches!(bound, Bound::Published(frame) if frame <= chain.frame()) {
            return Ok(());
        }
        let (batch, last) = self.read_commits(file, chain, bound)?;
        if matches!(bound, Bound::Published(frame) if last < frame) {
            return self.diff("the log is broken before its last published frame");
        }
        let Some(batch) = batch else { return Ok(()) };
        let page_size = chain.page_size();
        if bound == Bound::Closed && !self.is_in_database(&batch, page_size)? {
            // Frames that were abandoned look like commits once the index is another's.
            return self.diff("a closed log ends with frames that are not in the database");
        }
        // A page size that we do not know the database by, or a beginning that is not complete: compare instead.
        let complete = !self.pos().txid.is_zero() || has_all_pages(&batch, page_size);
        if self.page_size.is_some_and(|known| known != page_size) || !complete {
            return self.diff("the log does not continue what is known of the database");
        }
        self.publish_batch(file, batch, page_size)
    }

    /// Whether the database file has the pages of the batch: a generation is closed only when all of it is backfilled.
    fn is_in_database(&self, batch: &Batch, page_size: PageSize) -> Result<bool, Error> {
        let path = self.dir().file(FileKind::Database);
        let database = File::open(&path).during("open", &path)?;
        let mut page = Vec::new();
        for (&pgno, &(_, checksum)) in batch
            .pages
            .range(..)
            .filter(|(pgno, _)| pgno.get() <= batch.page_count)
        {
            read_page(&database, page_size.offset(pgno), page_size, &mut page)
                .during("read", &path)?;
            if ltx::page_checksum(pgno, &page) != checksum {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads commits from `chain` on. Also tells the last frame that chains on.
    fn read_commits(
        &mut self,
        file: &File,
        chain: &FrameChain,
        bound: Bound,
    ) -> Result<(Option<Batch>, u32), Error> {
        let path = self.dir().file(FileKind::Wal);
        let limit = if let Bound::Published(frame) = bound {
            frame
        } else {
            u32::MAX
        };
        let frame_size = chain.frame_size();
        let mut reader = CommitReader::new(chain.clone(), std::mem::take(&mut self.wal.buffer));
        while reader.chain.frame() < limit {
            let wanted = u64::from(limit - reader.chain.frame()) * frame_size as u64;
            let wanted =
                wanted.min((CHUNK / frame_size * frame_size).max(frame_size) as u64) as usize;
            reader.fill(file, wanted).during("read", &path)?;
            if !reader.take_frames(bound == Bound::Undecided) || reader.window.1.len() < wanted {
                break;
            }
        }
        let last = reader.chain.frame();
        Ok((reader.finish(&mut self.wal.buffer), last))
    }

    /// The page count after the batch. It is in page 1, so without that page the database has not grown.
    fn page_count_after(&self, file: &File, batch: &Batch) -> Result<u32, Error> {
        let Some(&(offset, _)) = batch.pages.get(&Pgno::FIRST) else {
            return Ok(batch.page_count.min(self.table.page_count()));
        };
        let mut first = [0; DatabaseHeader::SIZE];
        let path = self.dir().file(FileKind::Wal);
        read_from_log(&batch.window, file, &mut first, offset).during("read", &path)?;
        Ok(logical_page_count(&first, batch.page_count))
    }

    fn publish_batch(
        &mut self,
        file: &File,
        batch: Batch,
        page_size: PageSize,
    ) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Wal);
        let page_count = self.page_count_after(file, &batch)?;
        let Batch {
            pages,
            commits,
            end,
            window,
            ..
        } = batch;
        let changed: ChangedPages = pages
            .iter()
            .filter(|(pgno, _)| pgno.get() <= page_count && **pgno != page_size.lock_page())
            .map(|(pgno, (_, checksum))| (*pgno, *checksum))
            .collect();
        let transaction = self.encode(
            Extent::Commits(commits),
            page_size,
            page_count,
            changed,
            |pgno, page| {
                let Some((offset, _)) = pages.get(&pgno) else {
                    return Ok(());
                };
                page.resize(page_size.bytes(), 0);
                read_from_log(&window, file, page, *offset).during("read", &path)
            },
        )?;
        self.publish(transaction)?;
        self.wal.chain = Some(end);
        self.wal.buffer = window.1;
        self.shared
            .counters
            .commits
            .fetch_add(commits, Ordering::Relaxed);
        Ok(())
    }

    /// A write woke us and nothing was published: a writer may be between its commit frame and the wal-index, for
    /// which there is no further event. Look again, boundedly.
    pub(crate) fn look_again(&mut self) {
        let Some(db) = self.database() else { return };
        let late = self.read_mark_is_late();
        if !self.has_unread_frame() && !late {
            self.wal.looks = 0;
            return;
        }
        let writer = self
            .shared
            .probe
            .read()
            .as_ref()
            .is_some_and(|probe| probe.writer_active().unwrap_or(false));
        let delay = match self.wal.looks {
            looks if looks < LOOKS => FIRST_LOOK * 2u32.pow(looks),
            _ if writer || late => SLOW_LOOK,
            // It was published between our look and the writer's end.
            _ if self.is_behind_index() => Duration::ZERO,
            // Nobody is writing: the frame is one that was abandoned. The next write is an event again.
            _ => {
                self.wal.looks = 0;
                return;
            }
        };
        self.wal.looks += 1;
        self.env().timer.clone().after(delay, move || db.wake());
    }

    /// Whether more is published than captured.
    fn is_behind_index(&self) -> bool {
        let index = self
            .joined
            .as_ref()
            .and_then(|joined| joined.shm.index.header().ok());
        match (index, &self.wal.chain) {
            (Some(index), Some(chain)) => {
                index.salts != chain.salts() || index.mx_frame > chain.frame()
            }
            _ => false,
        }
    }

    /// Whether the log goes on after the captured frame.
    fn has_unread_frame(&self) -> bool {
        let (Some(file), Some(chain)) = (&self.wal.file, &self.wal.chain) else {
            return false;
        };
        let mut header = [0; FrameHeader::SIZE];
        let offset = frame_offset(chain.page_size(), chain.frame() + 1);
        match read_full(file, &mut header, offset) {
            Ok(read) if read == header.len() => {
                FrameHeader::parse(&header).is_ok_and(|frame| frame.salts == chain.salts())
            }
            _ => false,
        }
    }
}

/// How far `chain` may be followed, given the header of the file and that of the wal-index, if there is a valid one.
fn bound(
    chain: &FrameChain,
    header: Option<&WalHeader>,
    index: Option<&WalIndexHeader>,
    occasion: Occasion,
) -> Bound {
    let file_moved_on = header.is_some_and(|header| header.salts != chain.salts());
    match index {
        Some(index) if index.salts == chain.salts() => Bound::Published(index.mx_frame),
        // The log is being restarted: the index goes first, the file's header follows. All of it is backfilled.
        Some(index)
            if index.mx_frame == 0 && index.salts.salt1 == chain.salts().salt1.wrapping_add(1) =>
        {
            Bound::Closed
        }
        _ if file_moved_on => Bound::Closed,
        // A generation that nothing has been published of.
        Some(_) => Bound::Published(chain.frame()),
        None if occasion == Occasion::Wake => Bound::Undecided,
        None => Bound::Chain,
    }
}

fn has_all_pages(batch: &Batch, page_size: PageSize) -> bool {
    crate::view::pages_of(page_size, batch.page_count).all(|pgno| batch.pages.contains_key(&pgno))
}

/// Reads bytes of the log: out of those that were read last, or from the file.
fn read_from_log(
    window: &(u64, Vec<u8>),
    file: &File,
    into: &mut [u8],
    offset: u64,
) -> std::io::Result<()> {
    if copy_from_window(window, offset, into) {
        return Ok(());
    }
    read_full(file, into, offset).map(|_| ())
}

/// Copies a page out of the bytes that were read last, if it is all there.
fn copy_from_window(window: &(u64, Vec<u8>), offset: u64, page: &mut [u8]) -> bool {
    let Some(start) = offset
        .checked_sub(window.0)
        .and_then(|start| usize::try_from(start).ok())
    else {
        return false;
    };
    let Some(bytes) = window
        .1
        .get(start..)
        .and_then(|rest| rest.get(..page.len()))
    else {
        return false;
    };
    page.copy_from_slice(bytes);
    true
}

/// One commit: size of the database after it, place in the log after it, its frames.
type Commit = (u32, FrameChain, Vec<FramePage>);

/// The page of a frame: which one, where in the -wal, and its checksum.
type FramePage = (Pgno, u64, Checksum);

/// Walks along the chain and collects complete commits.
struct CommitReader {
    chain: FrameChain,
    window: (u64, Vec<u8>),
    pages: BTreeMap<Pgno, (u64, Checksum)>,
    /// Frames since the last commit frame.
    open: Vec<FramePage>,
    /// Commits, size after the last, place after the last.
    decided: Option<(u64, u32, FrameChain)>,
    /// With an undecided newest commit: that one.
    newest: Option<Commit>,
}

impl CommitReader {
    fn new(chain: FrameChain, buffer: Vec<u8>) -> CommitReader {
        CommitReader {
            chain,
            window: (0, buffer),
            pages: BTreeMap::new(),
            open: Vec::new(),
            decided: None,
            newest: None,
        }
    }

    /// Reads the next `wanted` bytes of frames.
    fn fill(&mut self, file: &File, wanted: usize) -> std::io::Result<()> {
        self.window.0 = frame_offset(self.chain.page_size(), self.chain.frame() + 1);
        self.window.1.resize(wanted, 0);
        let read = read_full(file, &mut self.window.1, self.window.0)?;
        self.window.1.truncate(read);
        Ok(())
    }

    /// Takes the frames of the window. `false` where the chain breaks.
    fn take_frames(&mut self, hold_newest: bool) -> bool {
        let frame_size = self.chain.frame_size();
        let window = std::mem::take(&mut self.window.1);
        let mut whole = true;
        for (index, frame) in window.chunks_exact(frame_size).enumerate() {
            let Ok((header, next)) = self.chain.next(frame) else {
                whole = false;
                break;
            };
            let offset = self.window.0 + (index * frame_size + FrameHeader::SIZE) as u64;
            let checksum = ltx::page_checksum(header.pgno, &frame[FrameHeader::SIZE..]);
            self.open.push((header.pgno, offset, checksum));
            self.chain = next;
            if header.is_commit() {
                self.commit(header.commit, hold_newest);
            }
        }
        self.window.1 = window;
        whole
    }

    fn commit(&mut self, page_count: u32, hold_newest: bool) {
        let pages = std::mem::take(&mut self.open);
        let this = (page_count, self.chain.clone(), pages);
        let decided = if hold_newest {
            self.newest.replace(this)
        } else {
            Some(this)
        };
        let Some((page_count, end, pages)) = decided else {
            return;
        };
        for (pgno, offset, checksum) in pages {
            self.pages.insert(pgno, (offset, checksum));
        }
        let commits = self.decided.take().map_or(0, |(commits, ..)| commits) + 1;
        self.decided = Some((commits, page_count, end));
    }

    /// The batch, if there was a commit; else the buffer goes back to `spare`.
    fn finish(self, spare: &mut Vec<u8>) -> Option<Batch> {
        match self.decided {
            Some((commits, page_count, end)) => Some(Batch {
                pages: self.pages,
                commits,
                page_count,
                end,
                window: self.window,
            }),
            None => {
                *spare = self.window.1;
                None
            }
        }
    }
}
