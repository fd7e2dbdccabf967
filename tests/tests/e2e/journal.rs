//! What applications do besides plain transactions: VACUUM, several databases in one transaction, another journal mode
//! in mid-life, exclusive locking, no journal at all, a file copied into the mount.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::client::{Access, Session, Watch, Workload};
use harness::ledger::{FIRST_TICK, JournalMode};
use harness::{Cluster, PlainDirectory, assert_agreement, await_same_position, sqlite3, until};

const LIMIT: Duration = Duration::from_secs(120);
const ARRIVED: Duration = Duration::from_secs(30);

#[track_caller]
fn run(database: &Path, sql: &str) -> String {
    sqlite3(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A pair, and a reader of the ledger on the replica.
fn pair_with_ledger(mode: JournalMode) -> Option<(Cluster, Workload, Watch)> {
    let cluster = Cluster::pair(LIMIT)?;
    let workload = Workload::new(mode, 4096, 121).transactions(50);
    workload.run(cluster.stage.tag(), &cluster.primary.database("app"));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let mut watch = Watch::start(
        cluster.stage.tag(),
        &cluster.replica().database("app"),
        Access::ReadWrite,
    );
    watch.await_first_read();
    Some((cluster, workload, watch))
}

#[test]
fn vacuum_shrinks_the_replica() {
    for mode in JournalMode::ALL {
        let Some((cluster, workload, watch)) = pair_with_ledger(mode) else {
            return;
        };
        let database = cluster.primary.database("app");
        // More than 256 pages go.
        run(&database, "CREATE TABLE bulk(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
            INSERT INTO bulk SELECT randomblob(3900) FROM n");
        let large: u64 = run(&database, "PRAGMA page_count")
            .parse()
            .expect("a number");
        await_same_position(&cluster.primary, cluster.replica(), "app");
        run(&database, "DROP TABLE bulk; VACUUM");
        let small: u64 = run(&database, "PRAGMA page_count")
            .parse()
            .expect("a number");
        assert!(small + 500 < large, "{large} pages before, {small} after");
        assert_agreement(&cluster, "app");
        workload.more(122).run(cluster.stage.tag(), &database);
        assert_agreement(&cluster, "app");
        watch.succeed();
    }
}

#[test]
fn vacuum_with_another_page_size() {
    let Some((cluster, workload, watch)) = pair_with_ledger(JournalMode::Delete) else {
        return;
    };
    let database = cluster.primary.database("app");
    for size in [512, 16_384] {
        run(&database, &format!("PRAGMA page_size = {size}; VACUUM"));
        assert_eq!(run(&database, "PRAGMA page_size"), size.to_string());
        assert_agreement(&cluster, "app");
    }
    Workload {
        page_size: 16_384,
        ..workload
    }
    .more(123)
    .run(cluster.stage.tag(), &database);
    assert_agreement(&cluster, "app");
    watch.succeed();
}

#[test]
fn auto_vacuum_moves_and_frees_pages() {
    for mode in [JournalMode::Truncate, JournalMode::Wal] {
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA page_size = 1024; PRAGMA auto_vacuum = full; PRAGMA journal_mode = {mode};
            CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
        ));
        for round in 0..4 {
            session.rows(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
                INSERT INTO t(x) SELECT randomblob(900) FROM n",
            );
            session.rows(&format!("DELETE FROM t WHERE id % 4 <> {round}"));
            assert_agreement(&cluster, "app");
        }
        session.close();
        assert_agreement(&cluster, "app");
    }
}

#[test]
fn a_transaction_over_two_databases() {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let [a, b] = ["a", "b"].map(|name| cluster.primary.database(name));
        let mut session = Session::open(cluster.stage.tag(), &a, Access::Create);
        session.rows(&format!("ATTACH '{}' AS other; PRAGMA journal_mode = {mode}; PRAGMA other.journal_mode = {mode};
            CREATE TABLE main.t(x); CREATE TABLE other.t(x)", b.display()));
        for number in 0..10 {
            session.rows(&format!("BEGIN; INSERT INTO main.t VALUES ({number}); INSERT INTO other.t VALUES ({number}); COMMIT"));
            session.rows("BEGIN; DELETE FROM main.t; DELETE FROM other.t; ROLLBACK");
        }
        for name in ["a", "b"] {
            assert_agreement(&cluster, name);
            assert_eq!(
                run(&cluster.replica().database(name), "SELECT count(*) FROM t"),
                "10",
                "in {mode} mode"
            );
        }
        for node in [&cluster.primary, cluster.replica()] {
            let names: Vec<_> = node
                .api()
                .info()
                .expect("it answers")
                .databases
                .into_iter()
                .map(|db| db.name)
                .collect();
            assert_eq!(names, ["a", "b"], "a super-journal is no database");
        }
    }
}

/// Applications are connected on the replica, and stay connected.
#[test]
fn journal_mode_changes_in_mid_life() {
    let Some((cluster, workload, watch)) = pair_with_ledger(JournalMode::Wal) else {
        return;
    };
    let tag = cluster.stage.tag();
    let database = cluster.primary.database("app");
    let mut reader = Session::open(tag, &cluster.replica().database("app"), Access::ReadWrite);
    let tick = format!("SELECT value FROM tick WHERE id = {FIRST_TICK}");
    for (seed, mode) in (130..).zip(["delete", "wal", "persist", "wal", "truncate"]) {
        assert_eq!(
            run(&database, &format!("PRAGMA journal_mode = {mode}")),
            mode
        );
        let workload = Workload {
            journal_mode: mode.to_owned(),
            ..workload.clone()
        };
        workload.more(seed).run(tag, &database);
        let expected = run(&database, &tick);
        until(
            ARRIVED,
            &format!("the reader sees what was written in {mode} mode"),
            || reader.value(&tick) == expected,
        );
        assert_agreement(&cluster, "app");
    }
    watch.succeed();
    reader.close();
    assert_agreement(&cluster, "app");
}

/// With the database to itself SQLite keeps its locks, and in WAL mode the index is in its memory.
#[test]
fn exclusive_locking() {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = {mode}; PRAGMA cache_size = 5;
            CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
        ));
        for _ in 0..30 {
            session.rows("INSERT INTO t(x) VALUES (randomblob(2000))");
            session.rows("BEGIN; UPDATE t SET x = randomblob(1500) WHERE id % 3 = 0; ROLLBACK");
        }
        session.close();
        assert_agreement(&cluster, "app");
        assert_eq!(
            run(&cluster.replica().database("app"), "SELECT count(*) FROM t"),
            "30",
            "in {mode} mode"
        );
        run(&database, "DELETE FROM t WHERE id % 2 = 0");
        assert_agreement(&cluster, "app");
    }
}

/// From normal to exclusive locking and back, with transactions in each.
#[test]
fn exclusive_locking_for_a_while() {
    for mode in JournalMode::ALL
        .into_iter()
        .filter(|mode| *mode != JournalMode::Wal)
    {
        println!("in {mode} mode");
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let mut session = Session::open(
            cluster.stage.tag(),
            &cluster.primary.database("app"),
            Access::Create,
        );
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
        ));
        for round in 1..=3 {
            println!("round {round}");
            for locking in ["exclusive", "normal"] {
                session.rows(&format!("PRAGMA locking_mode = {locking}"));
                for _ in 0..5 {
                    session.rows("INSERT INTO t(x) VALUES (randomblob(2000))");
                }
            }
            session.rows("SELECT count(*) FROM t");
            assert_agreement(&cluster, "app");
        }
        session.close();
        assert_agreement(&cluster, "app");
    }
}

/// In WAL mode, set late and given up again. The node must not look like another connection: SQLite would refuse.
#[test]
fn exclusive_locking_for_a_while_in_wal_mode() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows("PRAGMA journal_mode = wal; CREATE TABLE t(x)");
    assert_agreement(&cluster, "app");
    session.rows(
        "PRAGMA locking_mode = exclusive; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    );
    session.rows("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES (3)");
    session.rows("PRAGMA locking_mode = normal; INSERT INTO t VALUES (4)");
    let other = run(&database, "SELECT group_concat(x) FROM t");
    assert_eq!(other, "1,2,3,4");
    session.close();
    assert_agreement(&cluster, "app");
    assert_eq!(
        run(
            &cluster.replica().database("app"),
            "SELECT group_concat(x) FROM t"
        ),
        other
    );
}

/// The only connection leaves WAL mode, while the node follows the log.
#[test]
fn the_only_connection_leaves_wal_mode() {
    for mode in ["delete", "truncate", "persist", "memory", "off"] {
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
        assert_agreement(&cluster, "app");
        let now = session.value(&format!("PRAGMA journal_mode = {mode}"));
        assert_eq!(now, mode);
        session.rows("INSERT INTO t VALUES (2)");
        session.close();
        assert_agreement(&cluster, "app");
        assert_eq!(
            run(&cluster.replica().database("app"), "SELECT count(*) FROM t"),
            "2",
            "{mode}"
        );
    }
}

/// No journal to see the changes in: they are found by comparing.
#[test]
fn without_a_journal() {
    for mode in ["memory", "off"] {
        let Some((cluster, ..)) = pair_with_ledger(JournalMode::Delete) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
        assert_eq!(
            session.value(&format!("PRAGMA journal_mode = {mode}")),
            mode
        );
        for number in 1..=5 {
            session.rows("UPDATE account SET note = randomblob(500)");
            session.rows("UPDATE tick SET value = value + 1 WHERE id IN (1, 64)");
            let expected = run(&database, "SELECT value FROM tick WHERE id = 64");
            until(
                ARRIVED,
                &format!("write {number} without a journal arrives"),
                || {
                    run(
                        &cluster.replica().database("app"),
                        "SELECT value FROM tick WHERE id = 64",
                    ) == expected
                },
            );
        }
        session.close();
        assert_agreement(&cluster, "app");
    }
}

#[test]
fn a_database_copied_into_the_mount() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag();
    let outside = PlainDirectory::new(&cluster.stage, "outside");
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let (source, name) = (outside.database(&mode.to_string()), mode.to_string());
        let workload = Workload::new(mode, 4096, 141).transactions(30);
        workload.run(tag, &source);
        let status = Command::new("cp")
            .arg(&source)
            .arg(cluster.primary.mount())
            .status()
            .expect("cp runs");
        assert!(status.success(), "cp into the mount");
        until(ARRIVED, "the copy is on the replica", || {
            cluster.primary.pos(&name).is_some()
                && cluster.replica().pos(&name) == cluster.primary.pos(&name)
        });
        assert_agreement(&cluster, &name);
        assert_eq!(
            harness::digest(&cluster.replica().database(&name)),
            harness::digest(&source)
        );
        workload
            .more(142)
            .run(tag, &cluster.primary.database(&name));
        assert_agreement(&cluster, &name);
    }
}
