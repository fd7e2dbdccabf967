//! What the log says about pages: the table at its end, and which of its pages a content lacks.

use std::collections::BTreeMap;

use ltx::{Checksum, PageSize, Pgno, Pos};

use crate::error::{Error, IoContext};
use crate::log::LtxFile;
use crate::table::ChecksumTable;
use crate::transaction::ChangedPages;

/// The newest versions of pages in the last files of a log, as far as they are needed to come to its end.
pub(super) struct Overlay {
    /// Of the last file.
    pub(super) header: ltx::Header,
    /// For each file that is needed: its pages that are to be written. Ascending.
    pub(super) parts: Vec<(LtxFile, ChangedPages)>,
}

/// Reads a whole file and checks it; its header and its pages.
fn read_pages(file: &LtxFile) -> Result<(ltx::Header, ChangedPages), Error> {
    let fault = |source| Error::Ltx {
        what: file.path().display().to_string(),
        source,
    };
    let opened = file.open().during("open", file.path())?;
    let buffered = std::io::BufReader::with_capacity(256 * 1024, opened);
    let mut reader = ltx::Reader::new(buffered).map_err(fault)?;
    let header = *reader.header();
    let mut pages = ChangedPages::new();
    let mut page = Vec::new();
    while let Some(pgno) = reader.next_page(&mut page).map_err(fault)? {
        pages.push((pgno, ltx::page_checksum(pgno, &page)));
    }
    reader.finish().map_err(fault)?;
    Ok((header, pages))
}

/// The position before a file; `None` for a snapshot, which is preceded by anything.
fn pos_before(file: &LtxFile) -> Option<Pos> {
    let txid = file.min_txid.checked_previous()?;
    (!file.pre_apply_checksum.is_none()).then_some(Pos {
        txid,
        checksum: file.pre_apply_checksum,
    })
}

/// How many files of the log come before a position; `None` if it is no position of the log.
fn files_before(files: &[LtxFile], found: impl Fn(Pos) -> bool) -> Option<usize> {
    let first = files.first().and_then(pos_before).filter(|pos| found(*pos));
    if first.is_some() {
        return Some(0);
    }
    let last = files.iter().rposition(|file| found(file.post_pos()))?;
    Some(last + 1)
}

/// What the log tells of a content.
///
/// Page by page: the checksum of a database is the XOR of those of its pages, and CRCs are linear. A transaction that
/// changes two pages in the same way, at the same place, leaves the database's checksum as it was.
#[derive(Default)]
pub(super) struct Compared {
    /// The table at the end of the log; `None` if the log does not tell.
    pub(super) at_end: Option<ChecksumTable>,
    /// How many files come before the position that the content is that of.
    pub(super) exact: Option<usize>,
}

/// Follows the log to `end`, from `base`, a table that was saved once, or from the newest snapshot in the log, and looks
/// for `content` on the way.
pub(super) fn compare(
    base: Option<(ChecksumTable, Pos)>,
    files: &[LtxFile],
    end: Pos,
    content: &ChecksumTable,
) -> Result<Compared, Error> {
    let snapshot = files.iter().rposition(|file| pos_before(file).is_none());
    let based = base.and_then(|(table, pos)| {
        let skipped = if pos == end {
            files.len()
        } else {
            files_before(files, |at| at == pos)?
        };
        Some((table, skipped))
    });
    let (mut table, skipped, mut exact) = match (based, snapshot) {
        (Some((table, skipped)), _) => {
            let exact = (table == *content).then_some(skipped);
            (table, skipped, exact)
        }
        (None, Some(index)) => (ChecksumTable::default(), index, None),
        (None, None) => {
            // Nothing but the sums.
            let exact = files_before(files, |pos| pos.checksum == content.sum());
            return Ok(Compared {
                at_end: None,
                exact,
            });
        }
    };
    for (index, file) in files.iter().enumerate().skip(skipped) {
        let (header, pages) = read_pages(file)?;
        if header.is_snapshot() {
            table = ChecksumTable::default();
        }
        table.resize(header.commit);
        for (pgno, checksum) in pages {
            table.set(pgno, checksum);
        }
        if table == *content {
            exact = Some(index + 1);
        }
    }
    if table.sum() != end.checksum {
        return Ok(Compared::default());
    }
    if exact.is_none() && content.sum() != end.checksum {
        // Before the table that the way began with.
        exact = files_before(&files[..skipped], |pos| pos.checksum == content.sum())
            .filter(|index| *index < files.len());
    }
    Ok(Compared {
        at_end: Some(table),
        exact,
    })
}

/// Lays the files over `content`, the newest first, until that gives the end: `at_end`, or at least its checksum. `None`
/// if all of them do not.
pub(super) fn lay_over(
    content: &ChecksumTable,
    page_size: Option<PageSize>,
    files: &[LtxFile],
    at_end: Option<&ChecksumTable>,
) -> Result<Option<Overlay>, Error> {
    let Some(last) = files.last() else {
        return Ok(None);
    };
    let (header, pages) = read_pages(last)?;
    // Pages of another size are none of these.
    let known = if page_size == Some(header.page_size) {
        content.clone()
    } else {
        ChecksumTable::default()
    };
    let mut after = known.clone();
    after.resize(header.commit);
    let mut newest: BTreeMap<Pgno, (usize, Checksum)> = BTreeMap::new();
    let mut next = Some((header, pages));
    for (index, file) in files.iter().enumerate().rev() {
        let (of_file, pages) = match next.take() {
            Some(read) => read,
            None => read_pages(file)?,
        };
        if of_file.page_size != header.page_size {
            break;
        }
        for (pgno, checksum) in pages {
            if pgno.get() <= header.commit && !newest.contains_key(&pgno) {
                newest.insert(pgno, (index, checksum));
                after.set(pgno, checksum);
            }
        }
        let arrived =
            after.sum() == last.post_apply_checksum && at_end.is_none_or(|at_end| after == *at_end);
        if arrived {
            return Ok(Some(overlay(&known, header, &newest, files)));
        }
        if of_file.is_snapshot() {
            break;
        }
    }
    Ok(None)
}

fn overlay(
    known: &ChecksumTable,
    header: ltx::Header,
    newest: &BTreeMap<Pgno, (usize, Checksum)>,
    files: &[LtxFile],
) -> Overlay {
    let mut parts: Vec<(LtxFile, ChangedPages)> = files
        .iter()
        .map(|file| (file.clone(), ChangedPages::new()))
        .collect();
    for (&pgno, &(index, checksum)) in newest {
        if known.get(pgno) != checksum {
            parts[index].1.push((pgno, checksum));
        }
    }
    parts.retain(|(_, pages)| !pages.is_empty());
    Overlay { header, parts }
}
