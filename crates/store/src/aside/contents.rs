//! What the LTX files of an entry have.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ltx::{IndexedReader, PageSize, Pos, TxId};

use super::Entry;
use crate::error::{Error, IoContext};

/// One LTX file of an [`Entry`].
#[derive(Debug)]
pub struct LtxContents {
    /// Where it is in the entry.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What it says of itself, or why it cannot be read.
    pub details: Result<LtxDetails, Error>,
}

/// Header, trailer and page index of an LTX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LtxDetails {
    /// First TXID.
    pub min_txid: TxId,
    /// The position before it; `Pos::EMPTY` for a snapshot.
    pub pre_pos: Pos,
    /// The position after it. Its TXID is the last one of the file.
    pub post_pos: Pos,
    /// When it was captured, in Unix milliseconds.
    pub timestamp_ms: i64,
    /// The node that captured it.
    pub node_id: u64,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Pages of the database afterwards.
    pub page_count: u32,
    /// Numbers of the pages in it, as first and last of each run, ascending.
    pub pages: Vec<(u32, u32)>,
    /// Whether it has every page.
    pub is_snapshot: bool,
}

/// The LTX files of an entry, ordered by path. Files that vanish meanwhile are left out.
pub fn contents(entry: &Entry) -> Vec<LtxContents> {
    let files = entry.files.iter().filter(|file| file.txids().is_some());
    files
        .filter_map(|file| {
            let details = match read(&entry.path.join(&file.path)) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    return None;
                }
                details => details,
            };
            Some(LtxContents {
                path: file.path.clone(),
                size: file.size,
                details,
            })
        })
        .collect()
}

fn read(path: &Path) -> Result<LtxDetails, Error> {
    let file = File::open(path).during("open", path)?;
    let reader = IndexedReader::new(file).map_err(|source| Error::Ltx {
        what: path.display().to_string(),
        source,
    })?;
    let (header, trailer) = (reader.header(), reader.trailer());
    let snapshot = header.is_snapshot();
    Ok(LtxDetails {
        min_txid: header.min_txid,
        pre_pos: if snapshot {
            Pos::EMPTY
        } else {
            header.pre_pos()
        },
        post_pos: Pos {
            txid: header.max_txid,
            checksum: trailer.post_apply_checksum,
        },
        timestamp_ms: header.timestamp_ms,
        node_id: header.node_id,
        page_size: header.page_size,
        page_count: header.commit,
        pages: runs(reader.pages().map(|pgno| pgno.get())),
        is_snapshot: snapshot,
    })
}

/// Ascending numbers as first and last of each run.
fn runs(numbers: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_run() {
        let of = |numbers: &[u32]| runs(numbers.iter().copied());
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 7), (9, 10)]);
    }
}
