//! The worker of a node dies or is replaced, and its applications notice a pause.

use std::time::{Duration, Instant};

use harness::client::{Access, Session};
use harness::{Cluster, assert_agreement, until};

use crate::both::{both_ways, run, there};

const LIMIT: Duration = Duration::from_secs(120);
/// From the death of a worker to the answers of the next one.
const BACK: Duration = Duration::from_secs(20);

/// How a database is written: its name, and what a connection says at first.
const WAYS: [(&str, &str, &str); 5] = [
    ("wal_normal", "wal", "normal"),
    ("wal_full", "wal", "full"),
    ("delete", "delete", "full"),
    ("persist", "persist", "full"),
    ("truncate", "truncate", "full"),
];

const COUNT: &str = "SELECT count(*) FROM t";

/// A connection that has made a table with a row.
fn application(cluster: &Cluster, (name, mode, synchronous): (&str, &str, &str)) -> Session {
    let database = cluster.primary.database(name);
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA journal_mode = {mode}; PRAGMA synchronous = {synchronous}; PRAGMA busy_timeout = 20000;
         CREATE TABLE t(x); INSERT INTO t VALUES (1)"
    ));
    session
}

fn await_successor(cluster: &Cluster, before: u32) {
    let primary = &cluster.primary;
    until(BACK, "another worker serves the node", || {
        let other = primary
            .worker()
            .is_some_and(|pid| pid.as_raw().unsigned_abs() != before);
        other && primary.api().info().is_some_and(|info| info.is_primary)
    });
}

fn kill_worker(cluster: &Cluster) {
    let before = cluster.primary.pid();
    cluster.primary.kill_worker();
    await_successor(cluster, before);
}

fn connections_survive_the_death_of_the_worker(passthrough: bool) {
    let Some(mut cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let mut sessions = WAYS.map(|way| application(&cluster, way));
    kill_worker(&cluster);
    for ((name, ..), session) in WAYS.iter().zip(&mut sessions) {
        assert_eq!(session.value(COUNT), "1", "{name}");
        session.rows("INSERT INTO t VALUES (2)");
        let database = cluster.primary.database(name);
        run(
            &database,
            "PRAGMA busy_timeout = 20000; INSERT INTO t VALUES (3)",
        );
        assert_eq!(session.value(COUNT), "3", "{name}");
    }
    for (name, ..) in WAYS {
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "3", "{name}");
    }
    // And once more, on handles that are two workers old.
    kill_worker(&cluster);
    for ((name, ..), mut session) in WAYS.iter().zip(sessions) {
        session.rows("INSERT INTO t VALUES (4)");
        session.close();
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "4", "{name}");
    }
    cluster.stop();
}

fn open_transactions_survive_the_death_of_the_worker(passthrough: bool) {
    let Some(mut cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let mut sessions = WAYS.map(|way| application(&cluster, way));
    for session in &mut sessions {
        // More than the cache holds: in the rollback modes the file is in the middle of the transaction.
        session.rows(
            "PRAGMA cache_size = 5; BEGIN;
             WITH n(i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO t SELECT hex(randomblob(1000)) FROM n",
        );
    }
    kill_worker(&cluster);
    for ((name, ..), session) in WAYS.iter().zip(&mut sessions) {
        session.rows("INSERT INTO t VALUES (101)");
        session.rows("COMMIT");
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "101", "{name}");
        session.rows("BEGIN; DELETE FROM t WHERE x != 1");
    }
    kill_worker(&cluster);
    for ((name, ..), mut session) in WAYS.iter().zip(sessions) {
        session.rows("ROLLBACK");
        session.rows("INSERT INTO t VALUES (102)");
        assert_eq!(session.value("PRAGMA integrity_check"), "ok", "{name}");
        session.close();
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "102", "{name}");
    }
    cluster.stop();
}

both_ways! {
    connections_survive_the_death_of_the_worker
    open_transactions_survive_the_death_of_the_worker
}

#[test]
fn nobody_commits_in_wal_mode_while_there_is_no_worker() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut session = application(&cluster, WAYS[0]);
    session.rows("PRAGMA busy_timeout = 0");
    let _ = Instant::now();
    kill_worker(&cluster);
    session.rows("INSERT INTO t VALUES (2)");
    assert_agreement(&cluster, "wal_normal");
    cluster.stop();
}
