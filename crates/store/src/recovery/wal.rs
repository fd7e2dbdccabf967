//! Copies what is committed in a -wal into the database file and removes the log, before anything is mounted: what
//! the recovery of SQLite's first connection and the checkpoint of its last do. Nobody has the files open.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ltx::Pgno;
use sqlite::wal::{FrameChain, FrameHeader, frame_offset};

use crate::error::{Error, IoContext};
use crate::layout::{DatabaseDir, remove_if_exists, sync_directory};
use crate::name::{DbName, FileKind};
use crate::shared_index::{open_existing, read_exact, read_full, read_header};
use crate::transaction::ChangedPages;

/// Returns the pages that were copied, with their checksums.
pub(crate) fn copy_into_database(dir: &DatabaseDir, name: &DbName) -> Result<ChangedPages, Error> {
    let path = dir.file(FileKind::Wal);
    let Some(file) = open_existing(&path)? else {
        return Ok(Vec::new());
    };
    let mut copied = ChangedPages::new();
    if let Some(header) = read_header(&file, &path)? {
        let mut chain = FrameChain::new(&header);
        let (frames, page_count) = committed(&file, &path, &mut chain)?;
        if page_count > 0 {
            tracing::info!(database = %name, pages = frames.len(), "copying the write-ahead log into the database");
            copied = copy(&file, dir, &chain, &frames, page_count)?;
        }
    }
    remove_if_exists(&path)?;
    sync_directory(dir.path())?;
    Ok(copied)
}

/// The latest frame of each page up to the last commit, and the database's size after it.
fn committed(
    file: &File,
    path: &std::path::Path,
    chain: &mut FrameChain,
) -> Result<(BTreeMap<Pgno, u32>, u32), Error> {
    let (mut frames, mut open, mut page_count) = (BTreeMap::new(), Vec::new(), 0);
    let mut frame = vec![0; chain.frame_size()];
    loop {
        let number = chain.frame() + 1;
        let read = read_full(file, &mut frame, frame_offset(chain.page_size(), number))
            .during("read", path)?;
        if read < frame.len() {
            break;
        }
        let Ok((header, next)) = chain.next(&frame) else {
            break;
        };
        *chain = next;
        open.push((header.pgno, number));
        if header.is_commit() {
            page_count = header.commit;
            frames.extend(open.drain(..));
        }
    }
    frames.retain(|pgno, _| pgno.get() <= page_count);
    Ok((frames, page_count))
}

fn copy(
    wal: &File,
    dir: &DatabaseDir,
    chain: &FrameChain,
    frames: &BTreeMap<Pgno, u32>,
    page_count: u32,
) -> Result<ChangedPages, Error> {
    let (path, wal_path) = (dir.file(FileKind::Database), dir.file(FileKind::Wal));
    let page_size = chain.page_size();
    wal.sync_all().during("sync", &wal_path)?;
    let database = File::options()
        .write(true)
        .open(&path)
        .during("open", &path)?;
    let mut copied = ChangedPages::new();
    let mut page = vec![0; page_size.bytes()];
    for (&pgno, &frame) in frames {
        let offset = frame_offset(page_size, frame) + FrameHeader::SIZE as u64;
        read_exact(wal, &mut page, offset).during("read", &wal_path)?;
        database
            .write_all_at(&page, page_size.offset(pgno))
            .during("write", &path)?;
        if pgno != page_size.lock_page() {
            copied.push((pgno, ltx::page_checksum(pgno, &page)));
        }
    }
    database
        .set_len(u64::from(page_count) * u64::from(page_size.get()))
        .during("resize", &path)?;
    database.sync_all().during("sync", &path)?;
    Ok(copied)
}
