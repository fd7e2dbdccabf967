//! A full disk: an error for whoever writes, nothing lost, and everything goes on once there is space again.

use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{
    Cluster, Node, Stage, Tmpfs, assert_agreement, await_same_position, integrity, until,
};

const LIMIT: Duration = Duration::from_secs(120);
const DISK: u64 = 64 << 20;
const RECOVERED: Duration = Duration::from_secs(40);
/// SQLite's result codes for what a full disk may look like: busy, IOERR, FULL, CANTOPEN, READONLY.
const EXPECTED: [i32; 5] = [5, 10, 13, 14, 8];

/// A pair; the disk of the one that `small` chooses is small.
fn pair_with_small_disk(small: impl Fn(&Node) -> bool) -> Option<(Tmpfs, Cluster)> {
    let stage = Stage::with_mounts(LIMIT)?;
    let mut primary = Node::primary(&stage, "primary");
    let mut replica = Node::replica(&stage, "replica1", &primary);
    let chosen = if small(&primary) { &primary } else { &replica };
    let tmpfs = Tmpfs::new(&chosen.settings().data, DISK);
    primary.start();
    replica.start();
    Some((
        tmpfs,
        Cluster {
            primary,
            replicas: vec![replica],
            stage,
        },
    ))
}

fn insert(number: u32) -> String {
    format!("INSERT INTO t VALUES ({number}, randomblob(3000))")
}

/// The numbers in the table, which must be exactly those that were acknowledged.
#[track_caller]
fn assert_rows(session: &mut Session, acknowledged: &[u32]) {
    let rows = session.rows("SELECT n FROM t ORDER BY n");
    let found: Vec<u32> = rows
        .into_iter()
        .map(|row| row[0].parse().expect("a number"))
        .collect();
    assert_eq!(found, acknowledged);
}

/// Writes until the disk is full, and then some.
fn fill_the_primary(mode: JournalMode) {
    let Some((tmpfs, mut cluster)) = pair_with_small_disk(|node| node.settings().candidate) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!("PRAGMA busy_timeout = 500; PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, x)"));
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        session.rows(&insert(number));
        acknowledged.push(number);
    }
    await_same_position(&cluster.primary, cluster.replica(), "app");

    tmpfs.fill(64 << 10);
    let mut errors = Vec::new();
    let mut number = 20;
    while errors.len() < 10 {
        match session.run(&insert(number)) {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                assert!(EXPECTED.contains(&error.code), "{error:?}");
                errors.push(error);
                let _ = session.run("ROLLBACK");
            }
        }
        number += 1;
        assert!(
            number < 2000,
            "a disk with 64 KiB left takes 2000 rows of 3000 bytes"
        );
        tmpfs.fill(0);
    }
    cluster.primary.assert_running();

    tmpfs.release();
    until(RECOVERED, "writes succeed again", || {
        number += 1;
        let written = session.run(&insert(number)).is_ok();
        if written {
            acknowledged.push(number);
        } else {
            let _ = session.run("ROLLBACK");
        }
        written
    });
    assert_rows(&mut session, &acknowledged);
    assert_agreement(&cluster, "app");
    let mut there = Session::open(
        cluster.stage.tag(),
        &cluster.replica().database("app"),
        Access::ReadWrite,
    );
    assert_rows(&mut there, &acknowledged);
    let shown = cluster
        .primary
        .api()
        .database("app")
        .expect("the database is there");
    assert_eq!(shown.error, None, "it replicates again");
    there.close();
    session.close();
    cluster.stop();
    drop(cluster);
    drop(tmpfs);
}

#[test]
fn of_the_primary_in_delete_mode() {
    fill_the_primary(JournalMode::Delete);
}

#[test]
fn of_the_primary_in_persist_mode() {
    fill_the_primary(JournalMode::Persist);
}

#[test]
fn of_the_primary_in_wal_mode() {
    fill_the_primary(JournalMode::Wal);
}

/// The primary does not notice, the replica says so, its readers go on, and it catches up.
fn fill_the_replica(mode: JournalMode) {
    let Some((tmpfs, mut cluster)) = pair_with_small_disk(|node| !node.settings().candidate) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    let workload = Workload::new(mode, 4096, 161).transactions(30);
    workload.run(&tag, &database);
    let before = await_same_position(&cluster.primary, cluster.replica(), "app");

    tmpfs.fill(0);
    workload
        .clone()
        .transactions(100)
        .more(162)
        .run(&tag, &database);
    let replica = &mut cluster.replicas[0];
    until(RECOVERED, "the replica says that it has stopped", || {
        replica.assert_running();
        replica
            .api()
            .database("app")
            .is_some_and(|database| database.error.is_some())
    });
    assert_ne!(replica.pos("app"), cluster.primary.pos("app"));
    assert!(
        replica
            .pos("app")
            .is_some_and(|pos| pos.txid >= before.txid),
        "it keeps what it had"
    );
    assert_eq!(
        integrity(&replica.database("app")),
        "ok",
        "its readers go on"
    );
    workload.clone().more(163).run(&tag, &database);

    tmpfs.release();
    assert_agreement(&cluster, "app");
    let shown = cluster
        .replica()
        .api()
        .database("app")
        .expect("the database is there");
    assert_eq!(shown.error, None, "it replicates again");
    workload.more(164).run(&tag, &database);
    assert_agreement(&cluster, "app");
    cluster.stop();
    drop(cluster);
    drop(tmpfs);
}

#[test]
fn of_the_replica_in_delete_mode() {
    fill_the_replica(JournalMode::Delete);
}

#[test]
fn of_the_replica_in_wal_mode() {
    fill_the_replica(JournalMode::Wal);
}
