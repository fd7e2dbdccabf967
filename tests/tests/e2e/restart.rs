//! Nodes that stop, and nodes that die, while applications write.

use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::{JournalMode, Synchronous};
use harness::{Cluster, Node, assert_agreement, await_same_position, integrity, sqlite3, until};

const LIMIT: Duration = Duration::from_secs(120);
const PROGRESS: Duration = Duration::from_secs(20);

/// How a node goes.
#[derive(Clone, Copy)]
enum Way {
    Stopped,
    Killed,
}

impl Way {
    fn end(self, node: &mut Node) {
        match self {
            Way::Stopped => node.stop(),
            Way::Killed => node.kill(),
        }
    }
}

fn tick(node: &Node) -> u64 {
    let text = sqlite3(
        &node.database("app"),
        "SELECT value FROM tick WHERE id = 64",
    )
    .expect("the ledger can be read");
    text.parse().expect("ticks are numbers")
}

/// The replica goes and comes back; it begins where it was, and gets what it missed.
fn replica_continues(mode: JournalMode, way: Way) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    let workload = Workload::new(mode, 4096, 31).transactions(60);
    workload.run(&tag, &database);
    let before = await_same_position(&cluster.primary, cluster.replica(), "app");

    let running = workload.clone().more(32).start(&tag, &database);
    until(PROGRESS, "the replica applies something", || {
        cluster.replica().pos("app") != Some(before)
    });
    way.end(cluster.replica_mut());
    running.succeed();
    cluster.primary.stop();
    // Alone it has what it had.
    cluster.replica_mut().start();
    let alone = cluster
        .replica()
        .pos("app")
        .expect("it still has the database");
    assert!(
        alone.txid > before.txid,
        "it begins at {alone}, before what it had applied: {before}"
    );
    assert_eq!(integrity(&cluster.replica().database("app")), "ok");
    assert!(tick(cluster.replica()) > 0);

    cluster.primary.start();
    assert_agreement(&cluster, "app");
    workload.more(33).run(&tag, &database);
    assert_agreement(&cluster, "app");
    cluster.stop();
}

#[test]
fn replica_continues_after_a_stop_in_delete_mode() {
    replica_continues(JournalMode::Delete, Way::Stopped);
}

#[test]
fn replica_continues_after_a_kill_in_delete_mode() {
    replica_continues(JournalMode::Delete, Way::Killed);
}

#[test]
fn replica_continues_after_a_stop_in_wal_mode() {
    replica_continues(JournalMode::Wal, Way::Stopped);
}

#[test]
fn replica_continues_after_a_kill_in_wal_mode() {
    replica_continues(JournalMode::Wal, Way::Killed);
}

/// The primary goes in the middle of the workload. What was committed is there when it comes back.
fn primary_loses_nothing(mode: JournalMode, synchronous: Synchronous, way: Way) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    let workload = Workload::new(mode, 4096, 41)
        .synchronous(synchronous)
        .transactions(150);
    workload.tables_only().run(&tag, &database);
    let before = await_same_position(&cluster.primary, cluster.replica(), "app");

    let running = workload.clone().more(42).start(&tag, &database);
    until(PROGRESS, "some transactions are replicated", || {
        cluster
            .replica()
            .pos("app")
            .is_some_and(|pos| pos.txid > before.txid + 20)
    });
    let committed = match way {
        // An orderly end is for when the applications have ended.
        Way::Stopped => {
            let outcome = running.succeed();
            cluster.primary.stop();
            outcome.commits
        }
        // The applications meet errors, or the end of their work, on the dead mount, and close it.
        Way::Killed => {
            cluster.primary.kill();
            running.finish().commits
        }
    };
    cluster.primary.start();
    assert_eq!(integrity(&database), "ok");
    let now = tick(&cluster.primary);
    // Of each of the two connections one commit may have happened without the application being told.
    assert!(
        (committed..=committed + 2).contains(&now),
        "{committed} commits were acknowledged, {now} are there"
    );
    // What was written while nobody watched is one transaction.
    let after = assert_agreement(&cluster, "app");
    let least = if matches!(way, Way::Stopped) {
        before.txid + committed
    } else {
        before.txid + 1
    };
    assert!(
        after.txid >= least,
        "positions go on: {before}, then {after}"
    );

    workload.more(43).run(&tag, &database);
    assert_agreement(&cluster, "app");
    cluster.stop();
}

#[test]
fn primary_loses_nothing_when_stopped_in_delete_mode() {
    primary_loses_nothing(JournalMode::Delete, Synchronous::Full, Way::Stopped);
}

#[test]
fn primary_loses_nothing_when_stopped_in_wal_mode() {
    primary_loses_nothing(JournalMode::Wal, Synchronous::Normal, Way::Stopped);
}

#[test]
fn primary_loses_nothing_when_killed_in_delete_mode() {
    primary_loses_nothing(JournalMode::Delete, Synchronous::Full, Way::Killed);
}

#[test]
fn primary_loses_nothing_when_killed_in_truncate_mode() {
    primary_loses_nothing(JournalMode::Truncate, Synchronous::Full, Way::Killed);
}

#[test]
fn primary_loses_nothing_when_killed_in_persist_mode() {
    primary_loses_nothing(JournalMode::Persist, Synchronous::Full, Way::Killed);
}

#[test]
fn primary_loses_nothing_when_killed_in_wal_mode() {
    primary_loses_nothing(JournalMode::Wal, Synchronous::Normal, Way::Killed);
}

#[test]
fn primary_loses_nothing_when_killed_in_wal_mode_with_full_sync() {
    primary_loses_nothing(JournalMode::Wal, Synchronous::Full, Way::Killed);
}

/// A transaction that was not committed when its process and the node died is undone everywhere.
#[test]
fn an_unfinished_transaction_is_undone_after_a_kill() {
    for mode in JournalMode::ALL {
        let Some(mut cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let tag = cluster.stage.tag().to_owned();
        let database = cluster.primary.database("app");
        Workload::new(mode, 4096, 51)
            .transactions(40)
            .run(&tag, &database);
        let before = harness::digest(&database);
        let mut session = Session::open(&tag, &database, Access::ReadWrite);
        // Pages leave the small cache before the end: the journal is hot, or the log has frames without a commit.
        session.rows(&format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = 2; BEGIN; UPDATE account SET note = randomblob(3000)"));
        cluster.primary.kill();
        session.kill();
        cluster.primary.start();
        assert_eq!(integrity(&database), "ok");
        assert_eq!(harness::digest(&database), before, "in {mode} mode");
        assert_agreement(&cluster, "app");
    }
}

/// The mount of a dead process is cleared, and the node says so or not, but it starts.
#[test]
fn a_dead_mount_is_cleared() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    for _ in 0..2 {
        cluster.primary.kill();
        cluster.primary.start();
    }
    let database = cluster.primary.database("app");
    Workload::new(JournalMode::Wal, 4096, 61)
        .transactions(20)
        .run(cluster.stage.tag(), &database);
    assert_agreement(&cluster, "app");
    cluster.stop();
}
