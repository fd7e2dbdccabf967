//! A primary comes back with less than its replica has.

use std::path::Path;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, Pos, assert_agreement, await_same_position, until};

const LIMIT: Duration = Duration::from_secs(120);
const SETTLED: Duration = Duration::from_secs(30);

fn copy_tree(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status();
    assert!(done.expect("cp runs").success());
}

/// What is in `aside/` of a node and has never been on another one.
fn unreplicated(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("aside"));
    let names = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("it can be listed").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.contains("unreplicated"))
        .collect()
}

/// A pair whose primary has gone back to where it was some commits ago, and is not running. Where the replica is.
fn set_back(mode: JournalMode, another_boot: bool) -> Option<(Cluster, Pos)> {
    let mut cluster = Cluster::pair(LIMIT)?;
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, x)"
    ));
    let mut insert = |from: u32, to: u32| {
        for number in from..to {
            session.rows(&format!("INSERT INTO t VALUES ({number}, randomblob(900))"));
        }
    };
    insert(0, 20);
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let data = cluster.primary.settings().data.clone();
    let earlier = cluster.stage.directory().join("earlier");
    copy_tree(&data, &earlier);
    insert(20, 40);
    let pos = await_same_position(&cluster.primary, cluster.replica(), "app");
    session.kill();
    cluster.primary.kill();
    std::fs::remove_dir_all(&data).expect("nobody uses it");
    std::fs::rename(&earlier, &data).expect("they are on one file system");
    if another_boot {
        std::fs::write(data.join("boot"), "another\n").expect("it can be written");
    }
    Some((cluster, pos))
}

fn rows(cluster: &Cluster) -> [String; 2] {
    [&cluster.primary, cluster.replica()].map(|node| {
        harness::sqlite3(&node.database("app"), "SELECT count(*) FROM t").expect("it can be read")
    })
}

/// After a power failure: the primary asks before applications may write.
fn the_replica_gives_it_back(mode: JournalMode) {
    let Some((mut cluster, pos)) = set_back(mode, true) else {
        return;
    };
    cluster.primary.start();
    assert_eq!(cluster.primary.pos("app"), Some(pos));
    assert_eq!(assert_agreement(&cluster, "app"), pos);
    assert_eq!(rows(&cluster), ["40", "40"]);
    for node in [&cluster.primary, cluster.replica()] {
        assert_eq!(unreplicated(&node.settings().data), [""; 0]);
    }
    let mut session = Session::open(
        cluster.stage.tag(),
        &cluster.primary.database("app"),
        Access::ReadWrite,
    );
    session.rows("INSERT INTO t VALUES (100, 'after')");
    session.close();
    assert_agreement(&cluster, "app");
    cluster.stop();
}

#[test]
fn is_given_back_after_a_crash_of_the_machine_in_wal_mode() {
    the_replica_gives_it_back(JournalMode::Wal);
}

#[test]
fn is_given_back_after_a_crash_of_the_machine_in_delete_mode() {
    the_replica_gives_it_back(JournalMode::Delete);
}

/// The replica is not there, and the primary goes on without it after a while: two histories.
#[test]
fn goes_aside_where_the_primary_went_on_without_it() {
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        let Some((mut cluster, _)) = set_back(mode, false) else {
            return;
        };
        cluster.replica_mut().stop();
        cluster.primary.start();
        let mut session = Session::open(
            cluster.stage.tag(),
            &cluster.primary.database("app"),
            Access::ReadWrite,
        );
        session.rows("INSERT INTO t VALUES (100, 'another history')");
        session.close();
        cluster.replica_mut().start();
        assert_agreement(&cluster, "app");
        assert_eq!(rows(&cluster), ["21", "21"]);
        let data = cluster.replica().settings().data.clone();
        assert_eq!(unreplicated(&data).len(), 1);
        until(SETTLED, "it is counted", || {
            let info = cluster.replica().api().info();
            info.is_some_and(|info| info.unreplicated == Some(1))
        });
        cluster.stop();
    }
}

/// A replica that never comes must not keep the primary away for ever.
#[test]
fn is_waited_for_only_a_while() {
    let Some((mut cluster, _)) = set_back(JournalMode::Wal, true) else {
        return;
    };
    cluster.replica_mut().stop();
    cluster.primary.start();
    assert_eq!(
        harness::sqlite3(&cluster.primary.database("app"), "SELECT count(*) FROM t"),
        Ok("20".to_owned())
    );
    assert!(cluster.primary.log().contains("did not come"));
    cluster.replica_mut().start();
    assert_agreement(&cluster, "app");
    assert_eq!(unreplicated(&cluster.replica().settings().data).len(), 1);
    cluster.stop();
}
