use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use sqlite::journal::{Journal, JournalHeader, JournalState};

use crate::python::{Sqlite, companion, insert};

/// Makes a database of 600 rows, changes most of it in a transaction with a page cache of 10 pages, and returns
/// database and journal as they are in the middle of that.
fn in_transaction(
    database: &Path,
    page_size: u32,
    uri: &str,
    pragmas: &[&str],
) -> (Vec<u8>, Vec<u8>) {
    let mut sqlite = Sqlite::start();
    sqlite.open("a", database, uri);
    sqlite.sql("a", &format!("pragma page_size = {page_size}"));
    sqlite.sql("a", "create table t (v, data)");
    sqlite.sql("a", &insert(600, page_size / 2));
    for pragma in pragmas {
        sqlite.sql("a", pragma);
    }
    sqlite.sql("a", "update t set v = 1 where rowid < 500");
    sqlite.sql("a", "pragma cache_size = 10");
    sqlite.sql("a", "begin");
    sqlite.sql("a", "update t set v = 2 where rowid < 400");
    sqlite.sql("a", &insert(40, page_size / 2));
    (
        std::fs::read(database).unwrap(),
        std::fs::read(companion(database, "-journal")).unwrap(),
    )
}

/// The database after a playback by this crate.
fn played_back(database: &[u8], journal: &[u8]) -> Vec<u8> {
    let mut journal = Journal::open(Cursor::new(journal)).unwrap();
    let header = *journal.header().expect("the journal is valid");
    let mut result = database.to_vec();
    result.resize(
        header.initial_page_count as usize * header.page_size.bytes(),
        0,
    );
    let mut records = journal.records();
    while let Some(record) = records.next() {
        let record = record.unwrap();
        let at = header.page_size.offset(record.pgno) as usize;
        if record.pgno.get() <= header.initial_page_count {
            assert!(record.checksum_ok);
            result[at..at + header.page_size.bytes()].copy_from_slice(records.page());
        }
    }
    result
}

/// The database after SQLite has rolled the hot journal back.
fn rolled_back(directory: &Path, database: &[u8], journal: &[u8]) -> Vec<u8> {
    let path = directory.join("rolled-back.db");
    std::fs::write(&path, database).unwrap();
    std::fs::write(companion(&path, "-journal"), journal).unwrap();
    assert_eq!(
        Sqlite::connected("a", &path).sql("a", "pragma integrity_check"),
        "ok"
    );
    assert!(!companion(&path, "-journal").exists());
    std::fs::read(path).unwrap()
}

fn open(bytes: &[u8]) -> Journal<Cursor<&[u8]>> {
    Journal::open(Cursor::new(bytes)).unwrap()
}

#[test]
fn playback_of_hot_journals_is_that_of_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    for page_size in [512, 4096, 65536] {
        for (uri, sector_size) in [("", 512), ("psow=0", 4096)] {
            for synchronous in ["off", "normal", "full"] {
                let what = format!("{page_size}-{sector_size}-{synchronous}");
                let path = directory.path().join(&what);
                let pragma = format!("pragma synchronous = {synchronous}");
                let (database, journal) = in_transaction(&path, page_size, uri, &[&pragma]);
                let mut parsed = open(&journal);
                assert_eq!(parsed.state(), JournalState::Valid);
                let header = *parsed.header().unwrap();
                assert_eq!(
                    (header.page_size.get(), header.sector_size),
                    (page_size, sector_size),
                    "{what}"
                );
                let count = parsed.records().count();
                if synchronous == "off" {
                    assert_eq!(header.records, JournalHeader::RECORDS_TO_END, "{what}");
                } else {
                    assert!(
                        count as u32 > header.records,
                        "{what}: there are several segments"
                    );
                }
                assert_eq!(parsed.super_journal_name(), None, "{what}");
                let restored = played_back(&database, &journal);
                assert!(restored != database, "{what}: the database was changed");
                assert!(
                    restored == rolled_back(directory.path(), &database, &journal),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_persistent_journal_is_told_from_its_stale_tail() {
    let directory = tempfile::tempdir().unwrap();
    for synchronous in ["off", "full"] {
        let path = directory.path().join(synchronous);
        let pragma = format!("pragma synchronous = {synchronous}");
        let (database, journal) =
            in_transaction(&path, 1024, "", &["pragma journal_mode = persist", &pragma]);
        let restored = played_back(&database, &journal);
        assert!(restored != database);
        assert!(
            restored == rolled_back(directory.path(), &database, &journal),
            "{synchronous}"
        );

        // Records of the transaction before are still behind those of the present one.
        let mut parsed = open(&journal);
        let end = parsed
            .records()
            .map(|record| record.unwrap().offset_of_page + 1024 + 4)
            .max()
            .unwrap();
        assert!(
            end + 2048 < parsed.size(),
            "{synchronous}: {end} of {}",
            parsed.size()
        );
    }
}

#[test]
fn the_end_of_a_transaction_leaves_no_valid_journal() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, state) in [
        ("persist", JournalState::Zeroed),
        ("truncate", JournalState::Empty),
    ] {
        let path = directory.path().join(mode);
        let mut sqlite = Sqlite::connected("a", &path);
        sqlite.sql("a", &format!("pragma journal_mode = {mode}"));
        sqlite.sql("a", "create table t (v, data)");
        sqlite.sql("a", &insert(100, 1000));
        let mut journal = Journal::open(File::open(companion(&path, "-journal")).unwrap()).unwrap();
        assert_eq!(journal.state(), state);
        assert_eq!(journal.size() == 0, state == JournalState::Empty);
        assert_eq!(journal.header(), None);
        assert_eq!(journal.records().count(), 0);
    }
}

#[test]
fn a_journal_that_is_not_synced_yet_has_no_header() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::connected("a", &path);
    sqlite.sql("a", "create table t (v, data)");
    sqlite.sql("a", &insert(100, 1000));
    sqlite.sql("a", "begin");
    sqlite.sql("a", "update t set v = 1");
    let journal = Journal::open(File::open(companion(&path, "-journal")).unwrap()).unwrap();
    assert_eq!(journal.state(), JournalState::Zeroed);
    assert!(journal.size() > 512);
}

#[test]
fn the_first_transaction_of_a_database_journals_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::connected("a", &path);
    sqlite.sql("a", "pragma cache_size = 10");
    sqlite.sql("a", "begin");
    sqlite.sql("a", "create table t (v, data)");
    sqlite.sql("a", &insert(100, 1000));
    let mut journal = Journal::open(File::open(companion(&path, "-journal")).unwrap()).unwrap();
    assert_eq!(journal.state(), JournalState::Valid);
    let header = journal.header().unwrap();
    assert_eq!((header.initial_page_count, header.records), (0, 0));
    assert_eq!(journal.records().count(), 0);
}

/// The writer dies in the middle of a commit of two databases, when the first is written and the second is not.
#[test]
fn a_journal_names_its_super_journal() {
    let directory = tempfile::tempdir().unwrap();
    for (number, synchronous) in ["off", "normal", "full"].into_iter().enumerate() {
        let (first, second) = (
            directory.path().join(format!("{number}-ä.db")),
            directory.path().join(format!("{number}-b.db")),
        );
        let mut sqlite = Sqlite::connected("a", &first);
        sqlite.sql("a", &format!("attach '{}' as other", second.display()));
        sqlite.sql("a", &format!("pragma synchronous = {synchronous}"));
        sqlite.sql("a", &format!("pragma other.synchronous = {synchronous}"));
        sqlite.sql("a", "create table t (v, data)");
        sqlite.sql("a", "create table other.u (data)");
        sqlite.sql("a", &insert(20, 1000));
        let before = std::fs::read(&first).unwrap();
        sqlite.sql("a", "begin");
        sqlite.sql("a", "update t set v = 1");
        sqlite.sql("a", "insert into u values (zeroblob(1000000))");
        sqlite.die_when_writing_behind(500_000);
        sqlite.last_statement("a", "commit");

        let journal = std::fs::read(companion(&first, "-journal")).unwrap();
        let mut parsed = open(&journal);
        assert_eq!(parsed.state(), JournalState::Valid);
        let name = parsed.super_journal_name();
        // With synchronous=OFF several files are committed one by one, without a super-journal.
        assert_eq!(name.is_some(), synchronous != "off");
        assert!(name.is_none_or(|name| {
            let mut files = std::fs::read_dir(directory.path()).unwrap();
            files.any(|file| file.unwrap().path().as_os_str().as_encoded_bytes() == name)
        }));
        assert!(parsed.records().count() > 5);
        let after = std::fs::read(&first).unwrap();
        assert!(
            after != before,
            "{synchronous}: the first database was written"
        );
        assert!(played_back(&after, &journal) == before, "{synchronous}");
    }
}
