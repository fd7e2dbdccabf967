//! The LTX log of a database: an index of the files in its `ltx` directory, in memory, in TXID order.
//!
//! The database is the durable copy; the log is derived from it and may be cut off at its old end at any time. What
//! is too old to be found here is sent as a snapshot.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ltx::{Checksum, PageSize, Pos, TxId};

use crate::error::{Error, IoContext};

/// Bytes of recent files that are kept in memory for replicas that are close behind, per database.
const RECENT_BYTES: usize = 512 * 1024;

/// One file of the log.
#[derive(Debug, Clone)]
pub struct LtxFile {
    /// First TXID in the file.
    pub min_txid: TxId,
    /// Last TXID in the file.
    pub max_txid: TxId,
    /// Checksum of the database before `min_txid`; NONE for a snapshot.
    pub pre_apply_checksum: Checksum,
    /// Checksum of the database after `max_txid`.
    pub post_apply_checksum: Checksum,
    /// Size of the file in bytes.
    pub size: u64,
    /// When it was written, in Unix milliseconds.
    pub timestamp_ms: i64,
    /// The node that made it.
    pub node_id: u64,
    /// Page size of the database after it.
    pub page_size: PageSize,
    path: Arc<Path>,
    bytes: Option<Bytes>,
}

impl LtxFile {
    pub(crate) fn new(
        path: PathBuf,
        header: &ltx::Header,
        trailer: &ltx::Trailer,
        size: u64,
    ) -> LtxFile {
        LtxFile {
            min_txid: header.min_txid,
            max_txid: header.max_txid,
            pre_apply_checksum: header.pre_apply_checksum,
            post_apply_checksum: trailer.post_apply_checksum,
            size,
            timestamp_ms: header.timestamp_ms,
            node_id: header.node_id,
            page_size: header.page_size,
            path: path.into(),
            bytes: None,
        }
    }

    pub(crate) fn with_bytes(mut self, bytes: Option<Bytes>) -> LtxFile {
        self.bytes = bytes;
        self
    }

    /// The position after this file.
    pub fn post_pos(&self) -> Pos {
        Pos {
            txid: self.max_txid,
            checksum: self.post_apply_checksum,
        }
    }

    /// The file's bytes, if they are still in memory.
    pub fn bytes(&self) -> Option<Bytes> {
        self.bytes.clone()
    }

    /// Opens the file. It may be gone: retention does not wait.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What to send to somebody who is at some position.
#[derive(Debug, Clone)]
pub enum NextLtx {
    /// Nothing: this is our position.
    UpToDate,
    /// The file that follows on that position.
    File(LtxFile),
    /// A snapshot, for no file follows on that position.
    Snapshot(SnapshotReason),
}

/// Why a snapshot is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotReason {
    /// It has nothing yet.
    #[error("it has no copy yet")]
    New,
    /// The transactions that follow are no longer in the log.
    #[error("the transactions after its position are no longer in the log")]
    Gap,
    /// It has transactions that we do not have.
    #[error("it is ahead of us")]
    Ahead,
    /// Same TXID, other content.
    #[error("its history differs from ours")]
    Diverged,
}

impl SnapshotReason {
    /// Whether the position is known to be none of our history.
    pub fn is_other_history(self) -> bool {
        matches!(self, SnapshotReason::Ahead | SnapshotReason::Diverged)
    }
}

/// The index. Invariant: the files are contiguous: each begins after the TXID where the one before it ends, and
/// with its post-apply checksum.
#[derive(Debug, Default)]
pub(crate) struct LtxLog {
    files: VecDeque<LtxFile>,
    bytes_on_disk: u64,
    /// Files in the directory that are no part of it: not readable, or before a gap.
    strangers: HashSet<PathBuf>,
    /// Sum of the lengths of the `bytes` that are kept.
    recent: usize,
    /// Files before this index have no bytes in memory any more.
    first_recent: usize,
    reaped: u64,
}

impl LtxLog {
    /// Reads the directory. Only the newest contiguous run of readable files counts; what is before a gap, and what
    /// cannot be read, stays on disk. Returns the log and complaints for the log file.
    pub(crate) fn open(dir: &Path) -> Result<(LtxLog, Vec<String>), Error> {
        let mut named = Vec::new();
        let mut complaints = Vec::new();
        for entry in fs::read_dir(dir).during("list", dir)? {
            let path = entry.during("list", dir)?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            match ltx::parse_file_name(name) {
                Some(range) => named.push((range, path)),
                // Half-written by a process that died: complete files are renamed in.
                None if name.ends_with(".tmp") => crate::layout::remove_if_exists(&path)?,
                None => complaints.push(format!(
                    "{}: not an LTX file name, left alone",
                    path.display()
                )),
            }
        }
        named.sort();
        let mut log = LtxLog {
            strangers: named.iter().map(|(_, path)| path.clone()).collect(),
            ..LtxLog::default()
        };
        for ((min, max), path) in named.into_iter().rev() {
            let file = match read_file(&path) {
                Ok(file) if (file.min_txid, file.max_txid) == (min, max) => file,
                Ok(_) => {
                    complaints.push(format!(
                        "{}: its header has other TXIDs, left alone",
                        path.display()
                    ));
                    continue;
                }
                Err(error) => {
                    complaints.push(format!("{}: {}, left alone", path.display(), error.chain()));
                    continue;
                }
            };
            if log.files.front().is_some_and(|next| !follows(next, &file)) {
                break;
            }
            log.bytes_on_disk += file.size;
            log.strangers.remove(file.path());
            log.files.push_front(file);
        }
        log.first_recent = log.files.len();
        Ok((log, complaints))
    }

    /// The position after the last file.
    pub(crate) fn end(&self) -> Option<Pos> {
        self.files.back().map(LtxFile::post_pos)
    }

    pub(crate) fn last(&self) -> Option<&LtxFile> {
        self.files.back()
    }

    /// All files, the oldest first.
    pub(crate) fn files(&self) -> Vec<LtxFile> {
        self.files.iter().cloned().collect()
    }

    /// Whether the directory has a file of that name that is no part of the log: another one must not take its place.
    pub(crate) fn has_stranger(&self, path: &Path) -> bool {
        self.strangers.contains(path)
    }

    /// It is there no more.
    pub(crate) fn forget_stranger(&mut self, path: &Path) {
        self.strangers.remove(path);
    }

    pub(crate) fn file_count(&self) -> u64 {
        self.files.len() as u64
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.bytes_on_disk
    }

    pub(crate) fn reaped(&self) -> u64 {
        self.reaped
    }

    /// Adds a file that is in place. One that does not follow on the last (a snapshot, after a divergence) begins
    /// the log anew; the files before it are returned for removal.
    pub(crate) fn push(&mut self, file: LtxFile) -> Vec<LtxFile> {
        let replaced = match self.files.back() {
            Some(last) if !follows(&file, last) => {
                self.bytes_on_disk = 0;
                self.recent = 0;
                self.first_recent = 0;
                self.files.drain(..).collect()
            }
            _ => Vec::new(),
        };
        self.bytes_on_disk += file.size;
        self.recent += file.bytes.as_ref().map_or(0, Bytes::len);
        self.files.push_back(file);
        self.forget_bytes(RECENT_BYTES);
        // The very file may have been there already, under the same name.
        let kept = self.files.back().map(|file| file.path.clone());
        replaced
            .into_iter()
            .filter(|old| Some(&old.path) != kept.as_ref())
            .collect()
    }

    /// Takes back the last file: its transaction has not happened.
    pub(crate) fn pop_last(&mut self) -> Result<(), Error> {
        let Some(file) = self.files.pop_back() else {
            return Ok(());
        };
        self.bytes_on_disk -= file.size;
        self.first_recent = self.first_recent.min(self.files.len());
        self.recent -= file.bytes.as_ref().map_or(0, Bytes::len);
        crate::layout::remove_if_exists(&file.path)
    }

    /// Lets go of the oldest bytes in memory until at most `limit` are left.
    pub(crate) fn forget_bytes(&mut self, limit: usize) {
        while self.recent > limit && self.first_recent < self.files.len() {
            self.recent -= self.files[self.first_recent]
                .bytes
                .take()
                .map_or(0, |bytes| bytes.len());
            self.first_recent += 1;
        }
    }

    /// What follows on `pos`, when the database itself is at `current`.
    pub(crate) fn next_after(&self, pos: Pos, current: Pos) -> NextLtx {
        if pos == current {
            return NextLtx::UpToDate;
        }
        if pos.txid.is_zero() {
            // A log that still begins at TXID 1 is a complete copy.
            return match self.files.front() {
                Some(first) if first.min_txid == TxId::new(1) => NextLtx::File(first.clone()),
                _ => NextLtx::Snapshot(SnapshotReason::New),
            };
        }
        if pos.txid >= current.txid {
            let reason = if pos.txid > current.txid {
                SnapshotReason::Ahead
            } else {
                SnapshotReason::Diverged
            };
            return NextLtx::Snapshot(reason);
        }
        let index = self.files.partition_point(|file| file.min_txid <= pos.txid);
        match self.files.get(index) {
            Some(file) if file.min_txid != pos.txid.next() => {
                NextLtx::Snapshot(SnapshotReason::Gap)
            }
            Some(file) if file.pre_apply_checksum != pos.checksum => {
                NextLtx::Snapshot(SnapshotReason::Diverged)
            }
            Some(file) => NextLtx::File(file.clone()),
            None => NextLtx::Snapshot(SnapshotReason::Gap),
        }
    }

    /// Whether [`LtxLog::reap`] would take any file out.
    pub(crate) fn has_older(&self, retention: Duration, now: SystemTime) -> bool {
        let oldest = oldest_kept(retention, now);
        self.files.len() > 1 && self.files[0].timestamp_ms < oldest
    }

    /// Takes the files out that are older than `retention`; the newest always stays. The caller removes them.
    pub(crate) fn reap(&mut self, retention: Duration, now: SystemTime) -> Vec<LtxFile> {
        let oldest = oldest_kept(retention, now);
        let mut reaped = Vec::new();
        while self.files.len() > 1
            && self
                .files
                .front()
                .is_some_and(|file| file.timestamp_ms < oldest)
        {
            if let Some(file) = self.files.pop_front() {
                self.bytes_on_disk -= file.size;
                if self.first_recent > 0 {
                    self.first_recent -= 1;
                } else {
                    self.recent -= file.bytes.as_ref().map_or(0, Bytes::len);
                }
                reaped.push(file);
            }
        }
        self.reaped += reaped.len() as u64;
        reaped
    }
}

/// Files before this moment are too old, in Unix milliseconds.
fn oldest_kept(retention: Duration, now: SystemTime) -> i64 {
    let now_ms = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64;
    now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

fn follows(next: &LtxFile, last: &LtxFile) -> bool {
    next.min_txid == last.max_txid.next() && next.pre_apply_checksum == last.post_apply_checksum
}

fn read_file(path: &Path) -> Result<LtxFile, Error> {
    let mut file = File::open(path).during("open", path)?;
    let size = file.metadata().during("stat", path)?.len();
    let (header, trailer) = ltx::read_ends(&mut file).map_err(|source| Error::Ltx {
        what: "not usable".into(),
        source,
    })?;
    Ok(LtxFile::new(path.to_owned(), &header, &trailer, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(n: u64) -> Checksum {
        Checksum::from_raw(1 << 63 | n)
    }

    fn pos(txid: u64, checksum: u64) -> Pos {
        Pos {
            txid: TxId::new(txid),
            checksum: sum(checksum),
        }
    }

    /// File for TXIDs min..=max; the checksum after TXID n is n.
    fn file(min: u64, max: u64, timestamp_ms: i64) -> LtxFile {
        LtxFile {
            min_txid: TxId::new(min),
            max_txid: TxId::new(max),
            pre_apply_checksum: if min == 1 {
                Checksum::NONE
            } else {
                sum(min - 1)
            },
            post_apply_checksum: sum(max),
            size: 10,
            timestamp_ms,
            node_id: 0,
            page_size: PageSize::new(512).unwrap(),
            path: Path::new("x").into(),
            bytes: Some(Bytes::from_static(b"0123456789")),
        }
    }

    fn log(files: &[(u64, u64)]) -> LtxLog {
        let mut log = LtxLog::default();
        for &(min, max) in files {
            assert!(log.push(file(min, max, min as i64 * 1000)).is_empty());
        }
        log
    }

    fn next(log: &LtxLog, at: Pos, current: Pos) -> Result<Option<u64>, SnapshotReason> {
        match log.next_after(at, current) {
            NextLtx::UpToDate => Ok(None),
            NextLtx::File(file) => Ok(Some(file.min_txid.get())),
            NextLtx::Snapshot(reason) => Err(reason),
        }
    }

    #[test]
    fn finds_what_follows_on_a_position() {
        let log = log(&[(5, 5), (6, 9), (10, 12)]);
        let now = pos(12, 12);
        assert_eq!(next(&log, now, now), Ok(None));
        assert_eq!(next(&log, pos(4, 4), now), Ok(Some(5)));
        assert_eq!(next(&log, pos(9, 9), now), Ok(Some(10)));
        assert_eq!(next(&log, Pos::EMPTY, now), Err(SnapshotReason::New));
        assert_eq!(next(&log, pos(3, 3), now), Err(SnapshotReason::Gap));
        assert_eq!(next(&log, pos(7, 7), now), Err(SnapshotReason::Gap));
        assert_eq!(next(&log, pos(5, 77), now), Err(SnapshotReason::Diverged));
        assert_eq!(next(&log, pos(12, 77), now), Err(SnapshotReason::Diverged));
        assert_eq!(next(&log, pos(13, 13), now), Err(SnapshotReason::Ahead));
    }

    #[test]
    fn reaps_the_old_but_never_the_newest() {
        let mut log = log(&[(1, 1), (2, 2), (3, 3)]);
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!(log.reap(Duration::from_millis(500), at(2600)).len(), 2);
        assert_eq!(log.reap(Duration::ZERO, at(1_000_000)).len(), 0);
        assert_eq!(
            (log.file_count(), log.bytes_on_disk(), log.reaped()),
            (1, 10, 2)
        );
        assert_eq!(log.recent, 10);
    }

    #[test]
    fn keeps_only_recent_bytes_in_memory() {
        let mut log = log(&[(1, 1), (2, 2), (3, 3)]);
        log.forget_bytes(15);
        let kept: Vec<bool> = log.files.iter().map(|file| file.bytes.is_some()).collect();
        assert_eq!(kept, [false, false, true]);
    }

    #[test]
    fn a_file_that_does_not_follow_begins_the_log_anew() {
        let mut log = log(&[(1, 1), (2, 2)]);
        assert_eq!(
            log.push(file(1, 9, 0)).len(),
            0,
            "same path in this test, so nothing to remove"
        );
        assert_eq!(log.end(), Some(pos(9, 9)));
        assert_eq!((log.file_count(), log.bytes_on_disk()), (1, 10));
    }
}
