//! Readers that keep their connection, and with it their page cache: what they see is never older than what arrived.
//!
//! SQLite keeps its cache while bytes 24 to 39 of the file stay the same. A writer in exclusive locking mode changes
//! them once, and a database that replaces another may have the same ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, PlainDirectory, assert_agreement, await_same_position};

use crate::both::{both_ways, run};

const LIMIT: Duration = Duration::from_secs(120);
const VALUE: &str = "SELECT x FROM t WHERE id = 1";

both_ways! {
    a_writer_in_exclusive_mode
    a_writer_that_becomes_exclusive_late
    an_import_with_an_equal_counter
    every_transaction_of_an_ordinary_writer
}

/// Readers of `database`: with a cache, with a cache and a mapping, and one that may only read.
fn readers(cluster: &Cluster, database: &Path) -> Vec<Session> {
    let tag = cluster.stage.tag();
    let mut readers = vec![
        Session::open(tag, database, Access::ReadWrite),
        Session::open(tag, database, Access::ReadWrite),
        Session::open(tag, database, Access::ReadOnly),
    ];
    readers[1].rows("PRAGMA mmap_size = 268435456");
    readers
}

#[track_caller]
fn all_see(readers: &mut [Session], expected: &str, what: &str) {
    for (number, reader) in readers.iter_mut().enumerate() {
        assert_eq!(reader.value(VALUE), expected, "{what}, reader {number}");
    }
}

/// `count` transactions of `session`; after each the readers on the replica see it.
#[track_caller]
fn follow(
    cluster: &Cluster,
    session: &mut Session,
    readers: &mut [Session],
    values: std::ops::Range<u32>,
) {
    for value in values {
        session.rows(&format!("UPDATE t SET x = {value} WHERE id = 1"));
        await_same_position(&cluster.primary, cluster.replica(), "app");
        all_see(readers, &value.to_string(), "on the replica");
    }
}

fn made(cluster: &Cluster, mode: JournalMode) -> PathBuf {
    let database = cluster.primary.database("app");
    run(
        &database,
        &format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
             INSERT INTO t VALUES (1, 0), (2, randomblob(9000))"
        ),
    );
    await_same_position(&cluster.primary, cluster.replica(), "app");
    database
}

fn a_writer_in_exclusive_mode(passthrough: bool) {
    for mode in [
        JournalMode::Delete,
        JournalMode::Truncate,
        JournalMode::Persist,
    ] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = made(&cluster, mode);
        let mut readers = readers(&cluster, &cluster.replica().database("app"));
        all_see(&mut readers, "0", "before");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
        session.rows(&format!(
            "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = {mode}"
        ));
        follow(&cluster, &mut session, &mut readers, 1..8);
        session.close();
        assert_agreement(&cluster, "app");
        all_see(&mut readers, "7", "after it has gone");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
        follow(&cluster, &mut session, &mut readers, 8..12);
        session.close();
        assert_agreement(&cluster, "app");
    }
}

fn a_writer_that_becomes_exclusive_late(passthrough: bool) {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = made(&cluster, mode);
        let mut readers = readers(&cluster, &cluster.replica().database("app"));
        let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
        session.rows(&format!("PRAGMA journal_mode = {mode}"));
        follow(&cluster, &mut session, &mut readers, 1..4);
        session.rows("PRAGMA locking_mode = exclusive");
        follow(&cluster, &mut session, &mut readers, 4..8);
        session.rows("PRAGMA locking_mode = normal");
        follow(&cluster, &mut session, &mut readers, 8..12);
        // The others on the primary can have it again.
        assert_eq!(run(&database, VALUE), "11");
        session.close();
        assert_agreement(&cluster, "app");
    }
}

/// Two databases made by the same steps: only the value differs, and bytes 24 to 39 are the same.
fn an_import_with_an_equal_counter(passthrough: bool) {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let outside = PlainDirectory::new(&cluster.stage, "outside");
        let sources = [10, 20, 30].map(|value| {
            let source = outside.database(&format!("{value}"));
            run(&source, &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, {value})"));
            fs::read(&source).expect("the directory of a stage is ours")
        });
        assert_eq!(sources[0][24..40], sources[1][24..40]);
        assert_ne!(sources[0], sources[1]);
        let import = |number: usize| {
            let imported = cluster.primary.api().import("app", sources[number].clone());
            assert_eq!(imported, Ok(()));
            await_same_position(&cluster.primary, cluster.replica(), "app");
        };
        import(0);
        let mut here = readers(&cluster, &cluster.primary.database("app"));
        let mut there = readers(&cluster, &cluster.replica().database("app"));
        for (number, value) in [(0, "10"), (1, "20"), (2, "30"), (0, "10")] {
            import(number);
            all_see(&mut here, value, &format!("{mode}, on the primary"));
            all_see(&mut there, value, &format!("{mode}, on the replica"));
        }
        run(
            &cluster.primary.database("app"),
            "UPDATE t SET x = 40 WHERE id = 1",
        );
        await_same_position(&cluster.primary, cluster.replica(), "app");
        all_see(&mut here, "40", "on the primary");
        all_see(&mut there, "40", "on the replica");
        assert_agreement(&cluster, "app");
    }
}

fn every_transaction_of_an_ordinary_writer(passthrough: bool) {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = made(&cluster, mode);
        let mut readers = readers(&cluster, &cluster.replica().database("app"));
        let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; PRAGMA mmap_size = 268435456; PRAGMA wal_autocheckpoint = 5"
        ));
        follow(&cluster, &mut session, &mut readers, 1..25);
        session.rows("INSERT INTO t SELECT id + 10, randomblob(200000) FROM t; DELETE FROM t WHERE id > 1; VACUUM");
        follow(&cluster, &mut session, &mut readers, 25..30);
        session.close();
        assert_agreement(&cluster, "app");
    }
}
