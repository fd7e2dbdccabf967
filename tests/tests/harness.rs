//! The harness itself, on plain directories: the workload runs without errors, and each check of it can fail.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use harness::client::{Access, Session, Watch, WatchReport, Workload};
use harness::ledger::JournalMode;
use harness::{
    PlainDirectory, Stage, digest, free_port, integrity, processes_tagged, sqlite3, until,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Runs the workload on a plain directory with readers, and checks what came of it.
fn workload_is_clean(mode: JournalMode, page_size: u32) {
    let stage = Stage::new(LIMIT);
    let database = PlainDirectory::new(&stage, "plain").database("app");
    let watches = [Access::ReadOnly, Access::ReadWrite]
        .map(|access| Watch::start(stage.tag(), &database, access));
    let workload = Workload::new(mode, page_size, 7).transactions(100);
    let outcome = workload.run(stage.tag(), &database);
    for watch in watches {
        let report = watch.succeed();
        assert!(
            report.states > 5,
            "the reader saw few of the transactions: {report:?}"
        );
    }
    assert!(
        outcome.commits > 100 && outcome.rollbacks > 10,
        "{outcome:?}"
    );
    assert_eq!(
        tick(&database),
        outcome.commits.to_string(),
        "every commit counts once"
    );
    assert_eq!(integrity(&database), "ok");
    assert_eq!(
        sqlite3(&database, "PRAGMA page_size").as_deref(),
        Ok(page_size.to_string().as_str())
    );
}

fn tick(database: &Path) -> String {
    sqlite3(database, "SELECT value FROM tick WHERE id = 64").expect("the ledger can be read")
}

#[test]
fn workload_is_clean_in_delete_mode() {
    workload_is_clean(JournalMode::Delete, 512);
}

#[test]
fn workload_is_clean_in_truncate_mode() {
    workload_is_clean(JournalMode::Truncate, 4096);
}

#[test]
fn workload_is_clean_in_persist_mode() {
    workload_is_clean(JournalMode::Persist, 65_536);
}

#[test]
fn workload_is_clean_in_wal_mode() {
    workload_is_clean(JournalMode::Wal, 4096);
}

/// A ledger with some content, and its stage.
fn ledger(mode: JournalMode) -> (Stage, PathBuf) {
    let stage = Stage::new(LIMIT);
    let database = PlainDirectory::new(&stage, "plain").database("app");
    Workload::new(mode, 4096, 3)
        .transactions(40)
        .run(stage.tag(), &database);
    (stage, database)
}

/// What a reader says of a good ledger in which `spoil` does something.
fn report_after(spoil: impl FnOnce(&Path)) -> WatchReport {
    reports_after(spoil)[0].clone()
}

/// The same of both readers: the one in Rust and the one in Python.
fn reports_after(spoil: impl FnOnce(&Path)) -> [WatchReport; 2] {
    let (stage, database) = ledger(JournalMode::Delete);
    let mut watches = [
        Watch::start(stage.tag(), &database, Access::ReadWrite),
        Watch::start_python(stage.tag(), &database, Access::ReadWrite),
    ];
    watches.iter_mut().for_each(Watch::await_first_read);
    spoil(&database);
    watches.map(Watch::finish)
}

#[track_caller]
fn assert_violation(sql: &str, words: &str) {
    let report = report_after(|database| {
        sqlite3(database, sql).expect("the statement is good SQL");
    });
    assert!(
        report.violations.iter().any(|text| text.contains(words)),
        "{sql}: {report:?}"
    );
}

#[test]
fn a_reader_sees_nothing_wrong_in_a_good_ledger() {
    let report = report_after(|_| {});
    assert!(
        report.errors.is_empty() && report.violations.is_empty() && report.reads > 0,
        "{report:?}"
    );
}

#[test]
fn a_reader_sees_every_broken_invariant() {
    assert_violation(
        "UPDATE tick SET value = value + 1 WHERE id = 1",
        "the two far rows",
    );
    assert_violation(
        "UPDATE tick SET value = value - 1 WHERE id IN (1, 64)",
        "back to",
    );
    assert_violation(
        "UPDATE account SET balance = balance + 1 WHERE id = 7",
        "sum of the balances",
    );
    assert_violation(
        "DELETE FROM item WHERE id = (SELECT min(id) FROM item)",
        "count, bytes and digests",
    );
    assert_violation(
        "UPDATE item SET data = zeroblob(length(data))",
        "digest of item",
    );
}

#[test]
fn the_reader_in_python_can_fail_too() {
    for (sql, words) in [
        (
            "UPDATE tick SET value = value + 1 WHERE id = 1",
            "the two far rows",
        ),
        (
            "UPDATE tick SET value = value - 1 WHERE id IN (1, 64)",
            "back in time",
        ),
        (
            "UPDATE account SET balance = balance + 1 WHERE id = 7",
            "sum of the balances",
        ),
        (
            "DELETE FROM item WHERE id = (SELECT min(id) FROM item)",
            "count, bytes and digests",
        ),
    ] {
        let [_, report] = reports_after(|database| {
            sqlite3(database, sql).expect("the statement is good SQL");
        });
        assert!(
            report.violations.iter().any(|text| text.contains(words)),
            "{sql}: {report:?}"
        );
    }
    let [_, report] = reports_after(|database| {
        sqlite3(database, "DROP TABLE account").expect("drop the table");
    });
    assert!(
        report
            .errors
            .keys()
            .any(|error| error.contains("no such table")),
        "{report:?}"
    );
}

#[test]
fn a_reader_sees_a_damaged_page() {
    let report = report_after(|database| {
        let file = OpenOptions::new()
            .write(true)
            .open(database)
            .expect("the database is there");
        let length = file.metadata().expect("it has a length").len();
        for page in 2..length / 4096 {
            file.write_at(&[0xa5; 4096], page * 4096)
                .expect("write over it");
        }
    });
    assert!(
        !report.errors.is_empty() || !report.violations.is_empty(),
        "{report:?}"
    );
}

#[test]
fn a_missing_table_is_an_error_once_the_ledger_was_there() {
    let report = report_after(|database| {
        sqlite3(database, "DROP TABLE account").expect("drop the table");
    });
    assert!(
        report
            .errors
            .keys()
            .any(|error| error.contains("no such table")),
        "{report:?}"
    );
}

#[test]
fn a_missing_database_is_no_error_before() {
    let stage = Stage::new(LIMIT);
    let database = PlainDirectory::new(&stage, "plain").database("app");
    let report = Watch::start(stage.tag(), &database, Access::ReadOnly).finish();
    assert!(report.errors.is_empty() && report.reads == 0, "{report:?}");
}

#[test]
fn a_workload_reports_what_it_may_not_do() {
    let (stage, database) = ledger(JournalMode::Delete);
    let mut reader = Session::open(stage.tag(), &database, Access::ReadWrite);
    sqlite3(
        &database,
        "CREATE TRIGGER no BEFORE UPDATE ON tick BEGIN SELECT raise(ABORT, 'not today'); END",
    )
    .expect("trigger");
    let outcome = Workload::new(JournalMode::Delete, 4096, 1)
        .more(1)
        .start(stage.tag(), &database)
        .finish();
    assert!(
        outcome
            .errors
            .iter()
            .all(|error| error.contains("not today"))
            && outcome.errors.len() == 2,
        "{outcome:?}"
    );
    assert_eq!(reader.value("SELECT count(*) FROM tick"), "64");
}

#[test]
fn a_digest_follows_the_content_and_not_the_pages() {
    let (_stage, database) = ledger(JournalMode::Wal);
    let before = digest(&database);
    sqlite3(
        &database,
        "PRAGMA journal_mode = delete; PRAGMA page_size = 1024; VACUUM",
    )
    .expect("vacuum");
    assert_eq!(digest(&database), before);
    sqlite3(
        &database,
        "UPDATE item SET digest = digest + 1 WHERE id = (SELECT max(id) FROM item)",
    )
    .expect("update");
    assert_ne!(digest(&database), before);
}

#[test]
fn a_session_tells_results_and_errors_apart() {
    let (stage, database) = ledger(JournalMode::Delete);
    let mut session = Session::open(stage.tag(), &database, Access::ReadOnly);
    assert_eq!(session.value("SELECT 40 + 2"), "42");
    let error = session.error("DELETE FROM tick");
    assert_eq!(
        (error.code, error.text.as_str()),
        (8, "attempt to write a readonly database")
    );
    let missing = database.with_file_name("missing");
    assert_eq!(
        Session::open(stage.tag(), &missing, Access::ReadWrite)
            .error("SELECT 1")
            .code,
        14
    );
}

#[test]
fn a_stage_leaves_nothing_behind_when_a_test_fails() {
    let mut left = (String::new(), PathBuf::new());
    let failed = catch_unwind(std::panic::AssertUnwindSafe(|| {
        let stage = Stage::new(LIMIT);
        let database = PlainDirectory::new(&stage, "plain").database("app");
        left = (stage.tag().to_owned(), stage.directory().to_owned());
        std::mem::forget(Watch::start(stage.tag(), &database, Access::ReadOnly));
        until(LIMIT, "the client runs", || {
            !processes_tagged(stage.tag()).is_empty()
        });
        panic!("a test fails");
    }));
    assert!(failed.is_err());
    until(LIMIT, "the client is gone", || {
        processes_tagged(&left.0).is_empty()
    });
    assert!(!left.1.exists(), "the directory is still there");
}

#[test]
fn what_a_killed_run_left_is_swept_away() {
    // As if the owner of the directory had been killed: nobody holds it, and it is old.
    let directory =
        std::env::temp_dir().join(format!("litefs-test-left-by-{}", std::process::id()));
    fs::create_dir_all(directory.join("primary")).expect("temporary files can be made");
    let stage = Stage::new(LIMIT);
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    for old in [directory.as_path(), stage.directory()] {
        let file = File::open(old).expect("open the directory");
        file.set_modified(long_ago)
            .expect("its owner may say how old it is");
    }
    let held = stage.directory().to_owned();
    harness::sweep(&std::env::temp_dir());
    assert!(!directory.exists(), "it is still there");
    assert!(held.exists(), "a stage in use stays");
}

#[test]
fn a_test_that_takes_too_long_fails() {
    let failed = catch_unwind(|| {
        let stage = Stage::new(Duration::from_millis(200));
        let database = PlainDirectory::new(&stage, "plain").database("app");
        let mut session = Session::open(stage.tag(), &database, Access::Create);
        // It would run for days; the watchdog kills the client.
        session.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    });
    assert!(failed.is_err());
}

#[test]
fn ports_are_given_out_once() {
    let first = free_port();
    assert_ne!(first, free_port());
}
