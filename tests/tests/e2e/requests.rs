//! What costs a FUSE request and what does not: the design stands and falls with it.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, Node, await_same_position};

const LIMIT: Duration = Duration::from_secs(60);
/// Fewer pages than start an automatic checkpoint.
const TRANSACTIONS: u32 = 200;

/// A WAL database with one small table, and a connection that is used to it.
fn warm(cluster: &Cluster, node: &Node, synchronous: &str) -> Session {
    let database = cluster.primary.database("app");
    if !database.exists() {
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows("PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 0)");
        await_same_position(&cluster.primary, cluster.replica(), "app");
    }
    let mut session = Session::open(
        cluster.stage.tag(),
        &node.database("app"),
        Access::ReadWrite,
    );
    session.rows(&format!("PRAGMA synchronous = {synchronous}"));
    (0..10).for_each(|_| drop(session.rows("SELECT x FROM t WHERE id = 1")));
    session
}

/// The requests that `work` causes on `node`.
fn requests(node: &Node, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = node.api().metrics();
    assert!(
        before.total("litefs_fuse_requests_total").is_some(),
        "the node counts its FUSE requests"
    );
    work();
    before.fuse_requests_until(&node.api().metrics())
}

fn read_often(session: &mut Session) {
    for _ in 0..TRANSACTIONS {
        session.value("SELECT x FROM t WHERE id = 1");
    }
}

fn write_often(session: &mut Session) {
    for _ in 0..TRANSACTIONS {
        session.rows("UPDATE t SET x = x + 1 WHERE id = 1");
    }
}

#[test]
fn the_requests_of_an_application_are_counted() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let seen = requests(&cluster.primary, || {
        harness::sqlite3(&cluster.primary.database("app"), "CREATE TABLE t(x)")
            .expect("create a table");
    });
    assert!(
        seen.values().sum::<u64>() > 10,
        "a first transaction in DELETE mode has many: {seen:?}"
    );
}

#[test]
fn a_warm_wal_read_causes_none() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    for node in [&cluster.primary, cluster.replica()] {
        let mut session = warm(&cluster, node, "normal");
        let seen = requests(node, || read_often(&mut session));
        assert_eq!(
            seen,
            BTreeMap::new(),
            "{TRANSACTIONS} warm reads on {}",
            node.mount().display()
        );
    }
}

#[test]
fn a_wal_commit_at_normal_causes_none() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut session = warm(&cluster, &cluster.primary, "normal");
    // The first write after the start of a log writes its header.
    write_often(&mut session);
    let seen = requests(&cluster.primary, || write_often(&mut session));
    assert_eq!(
        seen,
        BTreeMap::new(),
        "{TRANSACTIONS} commits at synchronous=NORMAL"
    );
}

#[test]
fn a_wal_commit_at_full_causes_one_fsync() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut session = warm(&cluster, &cluster.primary, "full");
    write_often(&mut session);
    let seen = requests(&cluster.primary, || write_often(&mut session));
    assert_eq!(
        seen,
        BTreeMap::from([("fsync".to_owned(), u64::from(TRANSACTIONS))])
    );
}

#[test]
fn a_warm_read_of_a_rollback_database_causes_none() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    harness::sqlite3(
        &cluster.primary.database("app"),
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 0)",
    )
    .expect("create a table");
    await_same_position(&cluster.primary, cluster.replica(), "app");
    for node in [&cluster.primary, cluster.replica()] {
        let mut session = warm(&cluster, node, "full");
        let seen = requests(node, || read_often(&mut session));
        assert_eq!(
            seen,
            BTreeMap::new(),
            "{TRANSACTIONS} warm reads on {}",
            node.mount().display()
        );
    }
}

/// Reads on the replica while transactions arrive: still none of their own.
#[test]
fn reads_of_a_wal_replica_under_load_cause_none() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut reader = warm(&cluster, cluster.replica(), "normal");
    let mut writer = warm(&cluster, &cluster.primary, "normal");
    write_often(&mut writer);
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let quiet = requests(cluster.replica(), || {
        write_often(&mut writer);
        // Looking at the replica's position is a request, so only what it has received is waited for: the last value.
        let expected = writer.value("SELECT x FROM t WHERE id = 1");
        while reader.value("SELECT x FROM t WHERE id = 1") != expected {}
    });
    // What the daemon writes goes through its own mount, but passthrough: no request either.
    assert_eq!(
        quiet,
        BTreeMap::new(),
        "while {TRANSACTIONS} commits arrive"
    );
}
