//! Rolls a hot journal back before anything is mounted, as the first connection of SQLite's would
//! (`pager_playback`). Nobody has the files open.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sqlite::journal::{Journal, JournalState};

use crate::error::{Error, IoContext};
use crate::layout::{DatabaseDir, remove_if_exists, sync_directory};
use crate::name::{DbName, FileKind};
use crate::shared_index::open_existing;

/// What there was to play back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Played {
    /// No hot journal.
    Nothing,
    /// An unfinished transaction was undone.
    Undone,
    /// The same, and it was part of one over several databases.
    UndoneOfSeveral,
}

/// The journal of a database, if it is valid: SQLite would play it back, unless somebody is writing it.
pub(crate) fn open_valid(dir: &DatabaseDir) -> Result<Option<Journal<BufReader<File>>>, Error> {
    let path = dir.file(FileKind::Journal);
    let Some(file) = open_existing(&path)? else {
        return Ok(None);
    };
    let journal = Journal::open(BufReader::new(file)).map_err(|source| fault(dir, source))?;
    Ok((journal.state() == JournalState::Valid).then_some(journal))
}

/// What is wrong with the journal of a database.
pub(crate) fn fault(dir: &DatabaseDir, source: sqlite::Error) -> Error {
    Error::Sqlite {
        what: dir.file(FileKind::Journal).display().to_string(),
        source,
    }
}

/// Plays the journal back if it is hot, and removes it.
pub(crate) fn play_back(dir: &DatabaseDir, name: &DbName) -> Result<Played, Error> {
    let path = dir.file(FileKind::Journal);
    if !path.exists() {
        return Ok(Played::Nothing);
    }
    let mut played = Played::Nothing;
    if let Some(mut journal) = open_valid(dir)?.filter(|journal| !is_committed(journal, dir)) {
        tracing::info!(database = %name, "rolling back a transaction that was not finished");
        let database = dir.file(FileKind::Database);
        let file = File::options()
            .write(true)
            .open(&database)
            .during("open", &database)?;
        restore(&mut journal, &file, dir)?;
        played = match journal.super_journal_name() {
            None => Played::Undone,
            Some(_) => Played::UndoneOfSeveral,
        };
    }
    remove_if_exists(&path)?;
    sync_directory(dir.path())?;
    Ok(played)
}

/// A journal that names a super-journal is committed once that is gone. It is in the mount if the transaction's main
/// database is, and else where its name says.
pub(crate) fn is_committed<F: std::io::Read + std::io::Seek>(
    journal: &Journal<F>,
    dir: &DatabaseDir,
) -> bool {
    let Some(name) = journal.super_journal_name() else {
        return false;
    };
    // The name is a path as the application saw the mount; the file itself is in the data directory.
    let name = String::from_utf8_lossy(&name).into_owned();
    let Some(file_name) = Path::new(&name).file_name() else {
        return false;
    };
    if Path::new(&name).exists() {
        return false;
    }
    let supers = dir
        .path()
        .parent()
        .and_then(Path::parent)
        .map(|data| data.join("super").join(file_name));
    supers.is_some_and(|path| !path.exists())
}

/// Writes the old content of the pages back, and makes that durable.
pub(crate) fn restore(
    journal: &mut Journal<BufReader<File>>,
    database: &File,
    dir: &DatabaseDir,
) -> Result<(), Error> {
    let path = dir.file(FileKind::Database);
    let Some(header) = journal.header() else {
        return Ok(());
    };
    let (page_size, page_count) = (header.page_size, header.initial_page_count);
    database
        .set_len(u64::from(page_count) * u64::from(page_size.get()))
        .during("resize", &path)?;
    let mut records = journal.records();
    while let Some(record) = records.next() {
        let record = record.map_err(|source| fault(dir, source))?;
        if record.checksum_ok && record.pgno.get() <= page_count {
            database
                .write_all_at(records.page(), page_size.offset(record.pgno))
                .during("write", &path)?;
        }
    }
    database.sync_all().during("sync", &path)
}
