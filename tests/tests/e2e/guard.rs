//! The worker of a node dies or is replaced, and its applications notice a pause.

use std::time::{Duration, Instant};

use harness::client::{Access, Session, Workload};
use harness::ledger::{JournalMode, Synchronous};
use harness::{Cluster, assert_agreement, litefs, until, until_some};

use crate::both::{both_ways, run, there};

const LIMIT: Duration = Duration::from_secs(120);
/// From the death of a worker to the answers of the next one.
const BACK: Duration = Duration::from_secs(20);

/// From the death of a worker to the lock.
const FENCED: Duration = Duration::from_millis(100);

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

/// Kills workers until the guard pauses before it starts the next one, and returns right after the last kill.
fn kill_until_there_is_a_pause(cluster: &Cluster) {
    for _ in 0..3 {
        kill_worker(cluster);
    }
    cluster.primary.kill_worker();
}

#[test]
fn nobody_commits_in_wal_mode_while_there_is_no_worker() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut session = application(&cluster, WAYS[0]);
    session.rows("PRAGMA busy_timeout = 0");
    kill_until_there_is_a_pause(&cluster);
    let killed = Instant::now();
    // What comes before the locks is committed, and captured later.
    let fenced = until_some(FENCED, "a write is refused", || {
        session.run("INSERT INTO t VALUES (2)").err()
    });
    assert_eq!(fenced.text, "database is locked");
    assert!(killed.elapsed() < FENCED, "{:?}", killed.elapsed());
    // Reads go on, without anybody.
    let count = session.value(COUNT);
    session.rows("PRAGMA busy_timeout = 20000");
    session.rows("INSERT INTO t VALUES (3)");
    assert_ne!(session.value(COUNT), count);
    assert_agreement(&cluster, "wal_normal");
    cluster.stop();
}

#[test]
fn a_worker_that_is_stopped_is_replaced_at_its_deadline() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let ways = ["idle", "transaction", "exclusive"];
    let mut sessions = ways.map(|name| application(&cluster, (name, "wal", "normal")));
    let [idle, transaction, exclusive] = &mut sessions;
    idle.rows("PRAGMA busy_timeout = 0");
    transaction.rows("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)");
    exclusive.rows("PRAGMA locking_mode = exclusive; INSERT INTO t VALUES (2)");
    let before = cluster.primary.pid();
    cluster.primary.pause();
    // Stopped, and not dead: applications go on until the deadline.
    idle.rows("INSERT INTO t VALUES (2)");
    cluster.primary.set_deadline(Duration::from_millis(500));
    exclusive.rows("INSERT INTO t VALUES (3)");
    await_successor(&cluster, before);
    // What no lock kept out was cut off.
    for session in [transaction, exclusive] {
        session.error("INSERT INTO t VALUES (4); COMMIT");
    }
    idle.rows("PRAGMA busy_timeout = 20000; INSERT INTO t VALUES (3)");
    // It still has the database for itself, and nothing to write to.
    sessions.into_iter().for_each(Session::kill);
    for (name, expected) in ways.iter().zip(["3", "1", "3"]) {
        let database = cluster.primary.database(name);
        run(
            &database,
            "PRAGMA busy_timeout = 20000; CREATE TABLE after(x)",
        );
        assert_eq!(run(&database, COUNT), expected, "{name}");
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), expected, "{name}");
    }
    cluster.stop();
}

#[test]
fn a_deadline_that_is_extended_is_none() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut session = application(&cluster, WAYS[0]);
    let before = cluster.primary.pid();
    for _ in 0..10 {
        cluster.primary.set_deadline(Duration::from_millis(400));
        let begun = Instant::now();
        until(LIMIT, "a part of it has passed", || {
            begun.elapsed() > Duration::from_millis(150)
        });
        session.rows("INSERT INTO t VALUES (2)");
    }
    assert_eq!(cluster.primary.pid(), before);
    cluster.primary.set_deadline(Duration::MAX);
    assert_agreement(&cluster, "wal_normal");
    cluster.stop();
}

#[test]
fn workers_that_die_again_and_again_are_given_up() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut sessions = WAYS.map(|way| application(&cluster, way));
    for _ in 0..4 {
        kill_worker(&cluster);
    }
    cluster.primary.kill_worker();
    let status = cluster.primary.await_end();
    assert!(!status.success(), "{status}");
    assert!(
        cluster.primary.log().contains("given up"),
        "{}",
        cluster.primary.log()
    );
    for session in &mut sessions {
        let begun = Instant::now();
        let _ = session.run("PRAGMA busy_timeout = 500");
        session.error("INSERT INTO t VALUES (2)");
        assert!(begun.elapsed() < BACK, "{:?}", begun.elapsed());
    }
    sessions.into_iter().for_each(Session::kill);
    cluster.primary.start();
    for (name, ..) in WAYS {
        run(&cluster.primary.database(name), "INSERT INTO t VALUES (3)");
        assert_agreement(&cluster, name);
    }
    cluster.stop();
}

#[test]
fn a_stop_at_any_moment_leaves_nothing() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    // In the middle of the start of a successor, at its end, and while there is none.
    for delay in [0, 20, 50, 100, 200] {
        let session = application(&cluster, ("app", "wal", "normal"));
        run(&cluster.primary.database("app"), "DROP TABLE t");
        session.kill();
        cluster.primary.kill_worker();
        let killed = Instant::now();
        until(LIMIT, "a moment", || {
            killed.elapsed() >= Duration::from_millis(delay)
        });
        cluster.primary.terminate();
        cluster.primary.start();
    }
    kill_until_there_is_a_pause(&cluster);
    cluster.primary.terminate();
    cluster.primary.start();
    run(&cluster.primary.database("app"), "CREATE TABLE last(x)");
    assert_agreement(&cluster, "app");
    cluster.stop();
}

fn a_workload_does_not_notice(mode: JournalMode, synchronous: Synchronous) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    let workload = Workload::new(mode, 4096, 71)
        .synchronous(synchronous)
        .transactions(400);
    let running = workload.start(&tag, &database);
    let mut seen = None;
    for _ in 0..3 {
        until(BACK, "something is committed", || {
            let pos = cluster.primary.pos("app");
            pos.is_some() && std::mem::replace(&mut seen, pos) != seen
        });
        kill_worker(&cluster);
    }
    running.succeed();
    assert_agreement(&cluster, "app");
    cluster.stop();
}

#[test]
fn a_workload_in_wal_mode_does_not_notice() {
    a_workload_does_not_notice(JournalMode::Wal, Synchronous::Normal);
}

#[test]
fn a_workload_in_wal_mode_with_full_sync_does_not_notice() {
    a_workload_does_not_notice(JournalMode::Wal, Synchronous::Full);
}

#[test]
fn a_workload_in_delete_mode_does_not_notice() {
    a_workload_does_not_notice(JournalMode::Delete, Synchronous::Full);
}

#[test]
fn a_workload_in_persist_mode_does_not_notice() {
    a_workload_does_not_notice(JournalMode::Persist, Synchronous::Full);
}

/// The worker of the replica dies while it applies; its readers go on, and nobody writes there.
fn a_replica_goes_on(passthrough: bool) {
    let Some(mut cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    for mode in [JournalMode::Wal, JournalMode::Delete] {
        let name = mode.to_string();
        let workload = Workload::new(mode, 4096, 72).transactions(300);
        let running = workload.start(&tag, &cluster.primary.database(&name));
        let replica = cluster.replica();
        until(BACK, "it has the database", || replica.pos(&name).is_some());
        let mut reader = Session::open(&tag, &replica.database(&name), Access::Create);
        let begun = replica.pos(&name);
        until(BACK, "it applies something", || replica.pos(&name) != begun);
        let before = replica.pid();
        replica.kill_worker();
        until(BACK, "another worker serves it", || {
            replica
                .worker()
                .is_some_and(|pid| pid.as_raw().unsigned_abs() != before)
                && replica.api().info().is_some()
        });
        assert_eq!(reader.value("PRAGMA integrity_check"), "ok", "{name}");
        reader.rows("PRAGMA busy_timeout = 100");
        reader.error("CREATE TABLE not_here(x)");
        running.succeed();
        assert_agreement(&cluster, &name);
        assert_eq!(reader.value("PRAGMA integrity_check"), "ok", "{name}");
        reader.close();
    }
    cluster.stop();
}

both_ways! {
    a_replica_goes_on
}

/// The worker of the replica dies within a transaction that it writes in place: nobody reads half of it.
#[test]
fn half_a_transaction_is_never_read_on_a_replica() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let mut writer = application(&cluster, ("app", "delete", "normal"));
    writer.rows(
        "CREATE TABLE r(i INTEGER PRIMARY KEY, x, y);
         WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO r SELECT i, 0, hex(randomblob(200)) FROM n",
    );
    assert_agreement(&cluster, "app");
    let replica = cluster.replica();
    let mut reader = Session::open(&tag, &replica.database("app"), Access::Create);
    reader.rows("PRAGMA busy_timeout = 20000");
    for round in 1..=4 {
        let before = replica.pid();
        let pos = replica.pos("app");
        writer.rows(&format!("UPDATE r SET x = {round}"));
        // Its log has the transaction before the database has.
        let log = replica.settings().data.join("dbs/app/ltx");
        let files = || std::fs::read_dir(&log).map_or(0, Iterator::count);
        let had = files();
        until_some(BACK, "it has received the transaction", || {
            (files() > had || replica.pos("app") != pos).then_some(())
        });
        replica.kill_worker();
        let seen = reader.rows("SELECT min(x), max(x) FROM r");
        assert_eq!(seen[0][0], seen[0][1], "half a transaction");
        until(BACK, "another worker serves it", || {
            replica
                .worker()
                .is_some_and(|pid| pid.as_raw().unsigned_abs() != before)
                && replica.api().info().is_some()
        });
    }
    assert_agreement(&cluster, "app");
    assert_eq!(reader.value("PRAGMA integrity_check"), "ok");
    cluster.stop();
}

#[test]
fn an_upgrade_starts_what_is_there_now() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut sessions = WAYS.map(|way| application(&cluster, way));
    for session in &mut sessions {
        session.rows("BEGIN; INSERT INTO t VALUES (2)");
    }
    let before = cluster.primary.pid();
    let config = cluster.primary.config_path();
    let config = config.to_str().expect("paths of a stage are text");
    let ended = litefs(&["upgrade", "-config", config]);
    assert!(
        ended.status.success(),
        "{}\n{}",
        ended.output,
        cluster.primary.log()
    );
    assert_ne!(cluster.primary.pid(), before);
    for ((name, ..), mut session) in WAYS.iter().zip(sessions) {
        session.rows("COMMIT; INSERT INTO t VALUES (3)");
        session.close();
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "3", "{name}");
    }
    cluster.primary.stop();
    let ended = litefs(&["upgrade", "-config", config]);
    assert!(ended.output.contains("no node runs"), "{}", ended.output);
    cluster.primary.start();
    cluster.stop();
}
