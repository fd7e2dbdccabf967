//! Databases that change their size or that of their pages, and how the file grows.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, assert_agreement, await_same_position};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(150);
const BULK: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
    INSERT INTO t(x) SELECT randomblob(3900) FROM n;";
const CHUNK_SIZE: i32 = 6;

both_ways! {
    every_page_size_by_vacuum
    vacuum_under_old_snapshots
    incremental_vacuum
    the_file_grows_in_chunks
    mappings_on_both_sides
}

fn every_page_size_by_vacuum(passthrough: bool) {
    for mode in ["delete", "truncate", "persist"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        let mut reader = Session::open(
            cluster.stage.tag(),
            &cluster.replica().database("app"),
            Access::ReadWrite,
        );
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x); {BULK}"
        ));
        for size in [512, 65536, 1024, 32768, 2048, 4096, 16384, 8192, 512] {
            let before = txid(&cluster, "app");
            session.rows(&format!("PRAGMA page_size = {size}; VACUUM"));
            assert_eq!(session.value("PRAGMA page_size"), size.to_string());
            session.rows("UPDATE t SET x = randomblob(100) WHERE id % 50 = 0");
            let made =
                await_same_position(&cluster.primary, cluster.replica(), "app").txid - before;
            assert_eq!(made, 2, "pages of {size} bytes in {mode} mode");
            assert_eq!(reader.value("SELECT count(*) FROM t"), "600");
            assert_eq!(reader.value("PRAGMA quick_check"), "ok");
        }
        session.rows("PRAGMA journal_mode = wal; PRAGMA page_size = 4096; VACUUM");
        assert_eq!(session.value("PRAGMA page_size"), "512", "not in WAL mode");
        session.close();
        assert_agreement(&cluster, "app");
    }
}

/// More than 256 pages go, while readers hold on to the large one.
fn vacuum_under_old_snapshots(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x); {BULK}"
    ));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let mut readers = [&cluster.primary, cluster.replica()].map(|node| {
        let database = node.database("app");
        Session::open(cluster.stage.tag(), &database, Access::ReadWrite)
    });
    for _ in 0..2 {
        for reader in &mut readers {
            assert_eq!(reader.value("BEGIN; SELECT count(*) FROM t"), "600");
        }
        let before = txid(&cluster, "app");
        session.rows("PRAGMA busy_timeout = 50; DELETE FROM t WHERE id > 20; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
        let made = await_same_position(&cluster.primary, cluster.replica(), "app").txid - before;
        assert_eq!(made, 2);
        for reader in &mut readers {
            assert_eq!(reader.value("SELECT count(*) FROM t"), "600");
            assert_eq!(reader.value("PRAGMA quick_check; COMMIT"), "ok");
            assert_eq!(reader.value("SELECT count(*) FROM t"), "20");
        }
        session.rows("PRAGMA wal_checkpoint(TRUNCATE)");
        assert_agreement(&cluster, "app");
        session.rows(&format!("DELETE FROM t; {BULK}"));
        await_same_position(&cluster.primary, cluster.replica(), "app");
    }
    readers.into_iter().for_each(Session::close);
    session.close();
    assert_agreement(&cluster, "app");
}

fn incremental_vacuum(passthrough: bool) {
    for mode in ["delete", "wal"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = {mode};
             CREATE TABLE t(id INTEGER PRIMARY KEY, x); {BULK} DELETE FROM t WHERE id % 4"
        ));
        for _ in 0..4 {
            let before = txid(&cluster, "app");
            session.rows("PRAGMA incremental_vacuum(60)");
            assert_eq!(assert_agreement(&cluster, "app").txid, before + 1, "{mode}");
            session.rows("UPDATE t SET x = randomblob(3000) WHERE id % 16 = 0");
        }
        session.rows("PRAGMA incremental_vacuum");
        session.close();
        assert_agreement(&cluster, "app");
        let pages = |count| run(&database, &format!("PRAGMA {count}"));
        assert_eq!(pages("freelist_count"), "0");
    }
}

/// SQLITE_FCNTL_CHUNK_SIZE: the file is longer than its header says.
fn the_file_grows_in_chunks(passthrough: bool) {
    for mode in ["delete", "persist", "wal", "memory"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!("PRAGMA journal_mode = {mode}"));
        session.file_control(CHUNK_SIZE, 1 << 20);
        session.rows("CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
        for _ in 0..3 {
            session.rows(BULK);
            session.rows("PRAGMA wal_checkpoint(TRUNCATE)");
            assert_agreement(&cluster, "app");
            session.rows("DELETE FROM t WHERE id % 3; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
            assert_agreement(&cluster, "app");
        }
        let length = std::fs::metadata(&database).expect("it is there").len();
        assert_eq!(length % (1 << 20), 0, "{length} bytes in {mode} mode");
        session.close();
        assert_agreement(&cluster, "app");
        // Whoever opens it without a log takes the length of the file for the size of the database.
        for _ in 0..3 {
            let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
            session.file_control(CHUNK_SIZE, 1 << 20);
            session.rows("UPDATE t SET x = randomblob(100) WHERE id % 7 = 0");
            session.rows("INSERT INTO t(x) VALUES (randomblob(9000))");
            session.close();
            assert_agreement(&cluster, "app");
        }
    }
}

/// Pages are read and, in the rollback modes, checked through mappings that writes, truncation and growth meet.
fn mappings_on_both_sides(passthrough: bool) {
    for mode in ["delete", "truncate", "wal"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA mmap_size = 268435456; PRAGMA journal_mode = {mode}; PRAGMA wal_autocheckpoint = 50;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
        ));
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let mut readers = [&cluster.primary, cluster.replica()].map(|node| {
            let database = node.database("app");
            let mut reader = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
            reader.rows("PRAGMA mmap_size = 268435456");
            reader
        });
        for round in 0..4 {
            session.rows(BULK);
            session.rows(&format!("DELETE FROM t WHERE id % 5 <> {round}; VACUUM"));
            let sum = session.value("SELECT sum(length(x)) || hex(max(x)) FROM t");
            await_same_position(&cluster.primary, cluster.replica(), "app");
            for reader in &mut readers {
                let seen = reader.value("SELECT sum(length(x)) || hex(max(x)) FROM t");
                assert_eq!(seen, sum, "{mode}");
                assert_eq!(reader.value("PRAGMA quick_check"), "ok");
            }
        }
        session.close();
        assert_agreement(&cluster, "app");
        assert_eq!(there(&cluster, "app", "PRAGMA integrity_check"), "ok");
    }
}
