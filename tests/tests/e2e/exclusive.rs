//! `locking_mode=EXCLUSIVE`: the application has the database to itself, and in WAL mode the index in its memory.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, assert_agreement, await_same_position, until};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(120);
const ARRIVED: Duration = Duration::from_secs(20);
const COUNT: &str = "SELECT count(*) FROM t";
const INSERT: &str = "INSERT INTO t(x) VALUES (randomblob(2000));";

both_ways! {
    checkpoints_with_an_index_of_its_own
    killed_with_an_index_of_its_own
    killed_in_the_rollback_modes
    without_any_sync
}

fn exclusive(cluster: &Cluster, mode: &str, synchronous: &str) -> Session {
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = {mode};
         PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)"
    ));
    session
}

/// The log is restarted and emptied with nobody but the application knowing how far it goes.
fn checkpoints_with_an_index_of_its_own(passthrough: bool) {
    for synchronous in ["normal", "full"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let mut session = exclusive(&cluster, "wal", synchronous);
        let mut rows = 0;
        for kind in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]
            .iter()
            .cycle()
            .take(12)
        {
            session.rows(&INSERT.repeat(3));
            session.rows(&format!(
                "PRAGMA wal_checkpoint({kind}); {}",
                INSERT.repeat(2)
            ));
            rows += 5;
        }
        session.close();
        let made = assert_agreement(&cluster, "app").txid;
        assert_eq!(there(&cluster, "app", COUNT), rows.to_string());
        // The switch, the table and each insert.
        assert_eq!(made, 2 + rows, "at {synchronous}");
    }
}

/// The newest commits are in the log and nowhere else; the next connection finds them, and so does the replica.
fn killed_with_an_index_of_its_own(passthrough: bool) {
    for synchronous in ["off", "normal", "full"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = exclusive(&cluster, "wal", synchronous);
        session.rows(&INSERT.repeat(4));
        session.rows(&format!(
            "PRAGMA cache_size = 2; BEGIN; {}",
            INSERT.repeat(20)
        ));
        session.kill();
        assert_eq!(run(&database, COUNT), "4", "at {synchronous}");
        until(ARRIVED, "the replica has the newest commit", || {
            there(&cluster, "app", COUNT) == "4"
        });
        assert_agreement(&cluster, "app");
        run(&database, INSERT);
        assert_agreement(&cluster, "app");
        assert_eq!(there(&cluster, "app", COUNT), "5");
    }
}

fn killed_in_the_rollback_modes(passthrough: bool) {
    for mode in ["delete", "truncate", "persist"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = exclusive(&cluster, mode, "normal");
        session.rows(&INSERT.repeat(4));
        assert_eq!(txid(&cluster, "app"), 5);
        session.rows(&format!(
            "PRAGMA cache_size = 2; BEGIN; {}",
            INSERT.repeat(20)
        ));
        session.kill();
        assert_eq!(run(&database, COUNT), "4", "in {mode} mode");
        assert_agreement(&cluster, "app");
        run(&database, INSERT);
        assert_agreement(&cluster, "app");
        assert_eq!(there(&cluster, "app", COUNT), "5");
    }
}

/// At synchronous=OFF an exclusive connection asks nobody for anything: the log goes round and round.
fn without_any_sync(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let mut session = exclusive(&cluster, "wal", "off");
    session.rows("PRAGMA wal_autocheckpoint = 3");
    for round in 1..=4 {
        session.rows(&INSERT.repeat(40));
        // One more, so that all before it are decided.
        session.rows("UPDATE t SET x = x || 'a' WHERE id = 1");
        let _ = round;
    }
    session.close();
    await_same_position(&cluster.primary, cluster.replica(), "app");
    assert_agreement(&cluster, "app");
    assert_eq!(there(&cluster, "app", COUNT), "160");
}
