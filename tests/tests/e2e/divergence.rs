//! A replica whose history is not the primary's: for a while it was a primary of its own. When it comes back the primary's
//! history wins, what only the replica had is kept aside, and replication goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::client::Workload;
use harness::ledger::JournalMode;
use harness::{Cluster, Node, assert_agreement, await_same_position, litefs, sqlite3};
use serde_json::Value;

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
    let config = cluster.replica().config_path();
    let lost = lost_transactions(&config, replica_commits);
    comes_back(&cluster, &config, &lost, replica_commits);

    workload
        .more(85)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    assert_agreement(&cluster, "app");
    // The new history is what it starts with from now on.
    cluster.replica_mut().stop();
    assert_eq!(lost_transactions(&config, replica_commits), lost);
    comes_back(&cluster, &config, &lost, replica_commits);
    cluster.replica_mut().start();
    assert_agreement(&cluster, "app");
    cluster.stop();
}

/// Runs `litefs aside` for the node with this configuration, running or not.
#[track_caller]
fn aside(config: &Path, command: &str, arguments: &[&str]) -> String {
    let config = config.to_str().expect("paths of tests are text");
    let ended = litefs(&[&["aside", command, "-config", config], arguments].concat());
    assert!(ended.status.success(), "{}", ended.output);
    ended.output
}

/// The id of the one entry, which must be of unreplicated transactions.
#[track_caller]
fn lost_transactions(config: &Path, commits: u64) -> String {
    let text = aside(config, "list", &["-json"]);
    let list: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{text}");
    let entry = &list[0];
    assert_eq!(entry["database"], "app");
    assert_eq!(
        (&entry["reason"], &entry["unreplicated"]),
        (&Value::from("unreplicated"), &Value::from(true))
    );
    let id = entry["id"].as_str().expect("it has an id").to_owned();
    let table = aside(config, "list", &[]);
    assert!(
        table.contains(&id) && table.contains("unreplicated"),
        "{table}"
    );

    let show: Value =
        serde_json::from_str(&aside(config, "show", &["--json", &id[..4]])).expect("it is JSON");
    let files = show["ltx"].as_array().expect("it has LTX files");
    assert!(files.len() as u64 >= commits, "{show}");
    let last = &files[files.len() - 1];
    assert_eq!(last["maxTxid"], entry["maxTxid"]);
    assert!(
        last["pages"][0][0].as_u64().is_some_and(|page| page > 0),
        "{show}"
    );
    let text = aside(config, "show", &[&id]);
    assert!(
        text.contains("captured   20") && text.contains("pages      "),
        "{text}"
    );
    id
}

/// What was lost is in the database that is exported: while the node runs, and when it is stopped.
#[track_caller]
fn comes_back(cluster: &Cluster, config: &Path, id: &str, commits: u64) {
    let copy = cluster.stage.directory().join("recovered.db");
    let path = copy.to_str().expect("paths of tests are text");
    let said = aside(config, "export", &[id, path]);
    assert!(said.starts_with("Wrote database "), "{said}");
    let sql = "PRAGMA integrity_check; SELECT count(*) FROM own WHERE x LIKE 'replica%'";
    assert_eq!(sqlite3(&copy, sql), Ok(format!("ok\n{commits}")));
    let again = litefs(&[
        "aside",
        "export",
        "-config",
        config.to_str().unwrap_or(""),
        id,
        path,
    ]);
    assert!(
        again.output.contains("is there already"),
        "{}",
        again.output
    );
    assert_eq!(again.status.code(), Some(1));
    fs::remove_file(&copy).expect("it was written");
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
