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

/// How many files of the log come before `pos`; `None` if it is no position of the log.
pub(super) fn files_before(files: &[LtxFile], found: impl Fn(Pos) -> bool) -> Option<usize> {
    let first = files.first().and_then(pos_before).filter(|pos| found(*pos));
    if first.is_some() {
        return Some(0);
    }
    let last = files.iter().rposition(|file| found(file.post_pos()))?;
    Some(last + 1)
}

/// The table at `end`, the end of the log or that of `base`: `base`, a table that was saved once, and the files after it; or the newest
/// snapshot in the log and what follows. `None` if the log does not tell.
pub(super) fn table_at_end(
    base: Option<(ChecksumTable, Pos)>,
    files: &[LtxFile],
    end: Pos,
) -> Result<Option<ChecksumTable>, Error> {
    if let Some((table, _)) = base.as_ref().filter(|(_, pos)| *pos == end) {
        return Ok(Some(table.clone()));
    }
    let snapshot = files.iter().rposition(|file| pos_before(file).is_none());
    let based = base.and_then(|(table, pos)| {
        let skipped = files_before(files, |at| at == pos)?;
        Some((table, skipped))
    });
    let (mut table, skipped) = match (based, snapshot) {
        (Some((table, skipped)), _) => (table, skipped),
        (None, Some(index)) => (ChecksumTable::default(), index),
        (None, None) => return Ok(None),
    };
    for file in &files[skipped..] {
        let (header, pages) = read_pages(file)?;
        if header.is_snapshot() {
            table = ChecksumTable::default();
        }
        table.resize(header.commit);
        for (pgno, checksum) in pages {
            table.set(pgno, checksum);
        }
    }
    Ok((table.sum() == end.checksum).then_some(table))
}

/// Lays the files over `content`, the newest first, until that gives the checksum of the end. `None` if all of them
/// do not.
pub(super) fn lay_over(
    content: &ChecksumTable,
    page_size: Option<PageSize>,
    files: &[LtxFile],
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
        if after.sum() == last.post_apply_checksum {
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
