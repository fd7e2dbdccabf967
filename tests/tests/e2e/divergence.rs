//! A replica whose history is not the primary's: for a while it was a primary of its own. When it comes back the primary's
//! history wins, what only the replica had is kept aside, and replication goes on.

use std::fs;
use std::time::Duration;

use harness::client::Workload;
use harness::ledger::JournalMode;
use harness::{Cluster, Node, assert_agreement, await_same_position, sqlite3};

const LIMIT: Duration = Duration::from_secs(120);

/// Commits one at a time, so that TXIDs are known.
#[track_caller]
fn commit(node: &Node, commits: u64, text: &str) {
    for number in 0..commits {
        let sql = format!("INSERT INTO own VALUES ('{text} {number}')");
        sqlite3(&node.database("app"), &sql).expect("the node is a primary");
        node.pos("app").expect("the database is there");
    }
}

/// After a common past the replica, as a primary, and the primary commit so often each.
fn diverges(mode: JournalMode, replica_commits: u64, primary_commits: u64) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let database = cluster.primary.database("app");
    let workload = Workload::new(mode, 4096, 84).transactions(15);
    workload.run(cluster.stage.tag(), &database);
    sqlite3(&database, "CREATE TABLE own(x)").expect("the primary takes writes");
    let common = await_same_position(&cluster.primary, cluster.replica(), "app");

    let replica = cluster.replica_mut();
    replica.stop();
    replica.settings_mut().candidate = true;
    replica.start();
    commit(replica, replica_commits, "replica");
    let theirs = replica.pos("app").expect("it has the database");
    assert_eq!(theirs.txid, common.txid + replica_commits);
    replica.stop();
    replica.settings_mut().candidate = false;

    commit(&cluster.primary, primary_commits, "primary");
    let ours = cluster.primary.pos("app").expect("it has the database");
    assert_eq!(ours.txid, common.txid + primary_commits);
    cluster.replica_mut().start();
    assert_agreement(&cluster, "app");
    let rows = sqlite3(
        &cluster.replica().database("app"),
        "SELECT count(*) FROM own WHERE x LIKE 'replica%'",
    );
    assert_eq!(rows.as_deref(), Ok("0"), "the primary's history wins");
    assert!(
        kept_aside(cluster.replica()),
        "what only the replica had is kept"
    );

    workload
        .more(85)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    assert_agreement(&cluster, "app");
    // The new history is what it starts with from now on.
    cluster.replica_mut().stop();
    cluster.replica_mut().start();
    assert_agreement(&cluster, "app");
    cluster.stop();
}

fn kept_aside(node: &Node) -> bool {
    let entries = fs::read_dir(node.settings().data.join("aside"));
    entries.is_ok_and(|entries| {
        entries
            .filter_map(Result::ok)
            .any(|entry| entry.file_name().to_string_lossy().starts_with("app-"))
    })
}

#[test]
fn the_same_txid_with_another_checksum() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        diverges(mode, 1, 1);
    }
}

#[test]
fn a_replica_with_a_higher_txid() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        diverges(mode, 3, 1);
    }
}

#[test]
fn a_transaction_that_does_not_follow() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        diverges(mode, 1, 3);
    }
}
