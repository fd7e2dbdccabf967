//! A database from LTX files: the transactions of an entry, laid over the database as it was before them.
//!
//! That is to be had in one of two ways. If the files in `aside/` and in the log lead back to a snapshot, from these
//! files alone. Else from some copy of the database, if what was written to it since is written over by the files again.
//! In either case the checksum of the result must be the one that the last transaction was captured with.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ltx::{PageSize, Pos};

use super::{Entry, list, way_back};
use crate::error::{Error, IoContext};
use crate::layout::DataDir;
use crate::table::ChecksumTable;
use crate::view::{pages_of, read_page};

/// An LTX file, and where in the history it belongs.
#[derive(Debug, Clone)]
pub(super) struct Link {
    path: PathBuf,
    header: ltx::Header,
    post: Pos,
    /// It is in the entry itself.
    own: bool,
}

/// The LTX files of an entry, with what leads to them, in the order in which they are applied.
#[derive(Debug)]
pub(super) struct Overlay {
    files: Vec<Link>,
}

impl Overlay {
    /// Gathers what there is for the LTX files of `entry`. `None` if there are none that can be read.
    pub(super) fn gather(data: &DataDir, entry: &Entry) -> Result<Option<Overlay>, Error> {
        let mut pool = links(&entry.path, true)?;
        pool.extend(links(&entry.path.join("dir/ltx"), true)?);
        pool.sort_by_key(|link| (link.header.max_txid, link.header.min_txid));
        let Some(last) = pool.last().cloned() else {
            return Ok(None);
        };
        if let Some(db) = &entry.database {
            pool.extend(links(&data.database(db).ltx(), false)?);
            for other in list(data)? {
                if other.database.as_ref() == Some(db) && other.path != entry.path {
                    pool.extend(links(&other.path, false)?);
                    pool.extend(links(&other.path.join("dir/ltx"), false)?);
                }
            }
        }
        let mut files = chain_to(&last, &pool);
        let chained: Vec<PathBuf> = files.iter().map(|link| link.path.clone()).collect();
        // Files before a gap: the checksum will tell whether they fit.
        files.extend(
            pool.into_iter()
                .filter(|link| link.own && !chained.contains(&link.path)),
        );
        files.sort_by_key(|link| (link.header.max_txid, link.header.min_txid));
        if let Some(start) = files.iter().rposition(|link| link.header.is_snapshot()) {
            files.drain(..start);
        }
        Ok(Some(Overlay { files }))
    }

    /// The snapshot that took the place of the database, and what it had written over: both, or nothing.
    pub(super) fn way_back(entry: &Entry) -> Option<Overlay> {
        let directory = entry.path.join(way_back::DIRECTORY);
        let back = read_link(directory.join(way_back::BACK), true)?;
        let mut files = Vec::new();
        if !back.header.is_snapshot() {
            let snapshot = read_link(directory.join(way_back::SNAPSHOT), true)?;
            if snapshot.post != back.header.pre_pos() {
                return None;
            }
            files.push(snapshot);
        }
        files.push(back);
        Some(Overlay { files })
    }

    /// Whether no copy of the database is needed.
    pub(super) fn begins_with_snapshot(&self) -> bool {
        let first = self.files.first();
        first.is_some_and(|link| link.header.is_snapshot())
    }

    /// Whether all of it is in the entry.
    pub(super) fn is_own(&self) -> bool {
        self.files.iter().all(|link| link.own)
    }

    /// The position that it ends at.
    pub(super) fn end(&self) -> Pos {
        self.files.last().map_or(Pos::EMPTY, |link| link.post)
    }

    /// Writes the pages into `path`: a copy of the database, or a new file. `false` if that does not give the content
    /// that the last transaction was captured with.
    pub(super) fn apply(&self, path: &Path) -> Result<bool, Error> {
        let database = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .during("open", path)?;
        let mut size = None;
        for link in &self.files {
            let header = &link.header;
            if header.is_snapshot() {
                database.set_len(0).during("resize", path)?;
            } else if size.is_some_and(|size| size != header.page_size) {
                return Ok(false);
            }
            size = Some(header.page_size);
            apply_file(link, &database, path)?;
        }
        let (Some(page_size), Some(last)) = (size, self.files.last()) else {
            return Ok(false);
        };
        let sum = checksum(&database, path, page_size, last.header.commit)?;
        database.sync_all().during("sync", path)?;
        Ok(sum == last.post.checksum)
    }
}

/// The LTX files of a directory that can be read; none if it is not there.
fn links(directory: &Path, own: bool) -> Result<Vec<Link>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.during("list", directory)?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter_map(|path| link(path, own)).collect())
}

fn link(path: PathBuf, own: bool) -> Option<Link> {
    ltx::parse_file_name(path.file_name()?.to_str()?)?;
    read_link(path, own)
}

fn read_link(path: PathBuf, own: bool) -> Option<Link> {
    // One that cannot be read leads nowhere.
    let (header, trailer) = ltx::read_ends(&mut File::open(&path).ok()?).ok()?;
    let post = Pos {
        txid: header.max_txid,
        checksum: trailer.post_apply_checksum,
    };
    Some(Link {
        path,
        header,
        post,
        own,
    })
}

/// The files that lead to `last`, as far back as they go, the newest first.
fn chain_to(last: &Link, pool: &[Link]) -> Vec<Link> {
    let mut chain = vec![last.clone()];
    while let Some(first) = chain.last().filter(|link| !link.header.is_snapshot()) {
        let wanted = first.header.pre_pos();
        let before = pool
            .iter()
            .filter(|link| link.post == wanted && link.header.min_txid < first.header.min_txid);
        // A snapshot ends the search.
        let Some(best) = before.max_by_key(|link| (link.header.is_snapshot(), link.own)) else {
            break;
        };
        chain.push(best.clone());
    }
    chain
}

fn apply_file(link: &Link, database: &File, target: &Path) -> Result<(), Error> {
    let fault = |source| Error::Ltx {
        what: link.path.display().to_string(),
        source,
    };
    let file = File::open(&link.path).during("open", &link.path)?;
    let mut reader = ltx::Reader::new(BufReader::new(file)).map_err(fault)?;
    let (page_size, commit) = (reader.header().page_size, reader.header().commit);
    let mut page = Vec::new();
    while let Some(pgno) = reader.next_page(&mut page).map_err(fault)? {
        database
            .write_all_at(&page, page_size.offset(pgno))
            .during("write", target)?;
    }
    reader.finish().map_err(fault)?;
    database
        .set_len(u64::from(commit) * u64::from(page_size.get()))
        .during("resize", target)
}

fn checksum(
    database: &File,
    path: &Path,
    page_size: PageSize,
    page_count: u32,
) -> Result<ltx::Checksum, Error> {
    let mut table = ChecksumTable::default();
    let mut page = Vec::new();
    for pgno in pages_of(page_size, page_count) {
        read_page(database, page_size.offset(pgno), page_size, &mut page).during("read", path)?;
        table.set(pgno, ltx::page_checksum(pgno, &page));
    }
    Ok(table.sum())
}
