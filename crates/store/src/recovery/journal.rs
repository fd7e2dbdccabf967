//! Rolls a hot journal back before anything is mounted, as the first connection of SQLite's would
//! (`pager_playback`). Nobody has the files open.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sqlite::journal::{Journal, JournalState};

use crate::error::{Error, IoContext};
use crate::layout::{DatabaseDir, remove_if_exists, sync_directory};
use crate::name::{DbName, FileKind};
use crate::shared_index::open_existing;

/// What there was to play back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Played {
    /// No hot journal.
    Nothing,
    /// An unfinished transaction was undone.
    Undone,
    /// The same, and it was part of one over several databases.
    UndoneOfSeveral,
}

/// Plays the journal back if it is hot, and removes it.
pub(super) fn play_back(dir: &DatabaseDir, name: &DbName) -> Result<Played, Error> {
    let path = dir.file(FileKind::Journal);
    let Some(file) = open_existing(&path)? else {
        return Ok(Played::Nothing);
    };
    let fault = |source| Error::Sqlite {
        what: path.display().to_string(),
        source,
    };
    let mut journal = Journal::open(std::io::BufReader::new(file)).map_err(fault)?;
    let hot = journal.state() == JournalState::Valid && !is_committed(&journal, dir);
    if hot {
        let initial_page_count = journal
            .header()
            .map_or(0, |header| header.initial_page_count);
        tracing::info!(database = %name, "rolling back a transaction that was not finished");
        restore(&mut journal, dir, initial_page_count)?;
    }
    let of_several = journal.super_journal_name().is_some();
    remove_if_exists(&path)?;
    sync_directory(dir.path())?;
    Ok(match (hot, of_several) {
        (false, _) => Played::Nothing,
        (true, false) => Played::Undone,
        (true, true) => Played::UndoneOfSeveral,
    })
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

fn restore(
    journal: &mut Journal<std::io::BufReader<File>>,
    dir: &DatabaseDir,
    initial_page_count: u32,
) -> Result<(), Error> {
    let path = dir.file(FileKind::Database);
    let database = File::options()
        .write(true)
        .open(&path)
        .during("open", &path)?;
    restore_into(journal, &database, dir, initial_page_count)
}

/// Writes the old content of the pages back, and makes that durable.
pub(crate) fn restore_into(
    journal: &mut Journal<std::io::BufReader<File>>,
    database: &File,
    dir: &DatabaseDir,
    initial_page_count: u32,
) -> Result<(), Error> {
    let path = dir.file(FileKind::Database);
    let journal_path = dir.file(FileKind::Journal);
    let Some(page_size) = journal.header().map(|header| header.page_size) else {
        return Ok(());
    };
    database
        .set_len(u64::from(initial_page_count) * u64::from(page_size.get()))
        .during("resize", &path)?;
    let mut records = journal.records();
    while let Some(record) = records.next() {
        let record = record.map_err(|source| Error::Sqlite {
            what: journal_path.display().to_string(),
            source,
        })?;
        if record.checksum_ok && record.pgno.get() <= initial_page_count {
            database
                .write_all_at(records.page(), page_size.offset(record.pgno))
                .during("write", &path)?;
        }
    }
    database.sync_all().during("sync", &path)
}
