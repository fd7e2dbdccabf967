//! Connections that cannot be locked out: a planned handoff is given up for them, a deadline is not.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Fleet, sqlite3, until};

use crate::trial::{SOON, alone, lease};

/// A database, the statements that its connection begins with, and what a new connection says of how it is written.
const WAYS: [(&str, &str); 6] = [
    ("wal", "PRAGMA journal_mode = wal"),
    (
        "wal-exclusive",
        "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = wal",
    ),
    ("delete", "PRAGMA journal_mode = delete"),
    ("truncate", "PRAGMA journal_mode = truncate"),
    ("persist", "PRAGMA journal_mode = persist"),
    ("memory", "PRAGMA journal_mode = memory"),
];

const BEFORE: &str = "CREATE TABLE t (x); INSERT INTO t VALUES ('before')";
const COUNT: &str = "SELECT count(*) FROM t";

/// A connection to each database of a node, each within a transaction.
fn within_transactions(fleet: &Fleet, node: usize) -> Vec<(&'static str, Session)> {
    let open = |(name, begin): (&'static str, &str)| {
        let database = fleet.nodes[node].database(name);
        let mut session = Session::open(fleet.stage.tag(), &database, Access::Create);
        session.rows(begin);
        session.rows(BEFORE);
        (name, session)
    };
    let mut sessions: Vec<_> = WAYS.into_iter().map(open).collect();
    for (name, _) in WAYS {
        fleet.await_settled(name);
    }
    for (_, session) in &mut sessions {
        session.rows("BEGIN IMMEDIATE; INSERT INTO t VALUES ('late')");
    }
    sessions
}

fn is_primary(fleet: &Fleet, node: usize) -> bool {
    fleet.primaries().contains(&node)
}

/// Nothing of a transaction that was open at the deadline is anywhere afterwards; whoever had it gets an error, and new
/// connections work.
#[test]
fn transactions_that_are_open_at_the_deadline_do_not_commit() {
    let _alone = alone();
    let ttl = Duration::from_secs(2);
    let limit = Duration::from_secs(150);
    let Some(mut fleet) = Fleet::with_consul(limit, 2, 1, |url| lease(url, ttl)) else {
        return;
    };
    let old = fleet.await_primary(SOON);
    until(SOON, "the other one is connected", || {
        let info = fleet.nodes[1 - old].api().info();
        info.is_some_and(|info| info.role.as_deref() == Some("replica"))
    });
    let mut sessions = within_transactions(&fleet, old);

    let refused = fleet.nodes[old].command_line(&["handoff"]);
    assert!(!refused.status.success(), "{}", refused.output);
    assert!(
        refused.output.contains("cannot handoff"),
        "{}",
        refused.output
    );
    assert!(is_primary(&fleet, old), "it stays the primary");

    fleet.consul.as_ref().expect("it is there").pause();
    until(SOON, "it steps down", || !is_primary(&fleet, old));
    for (name, session) in &mut sessions {
        let error = session.run("COMMIT");
        assert!(error.is_err(), "{name}: it was committed");
    }
    for (name, _) in WAYS {
        let database = fleet.nodes[old].database(name);
        assert_eq!(sqlite3(&database, COUNT).as_deref(), Ok("1"), "{name}");
        let mut other = Session::open(fleet.stage.tag(), &database, Access::ReadWrite);
        other.rows("PRAGMA busy_timeout = 100");
        other.error("INSERT INTO t VALUES ('nobody')");
        other.close();
    }
    for (_, session) in sessions {
        session.kill();
    }

    fleet.consul.as_mut().expect("it is there").resume();
    let new = fleet.await_primary(SOON);
    for (name, _) in WAYS {
        let database = fleet.nodes[new].database(name);
        let after = format!("INSERT INTO t VALUES ('after'); {COUNT}");
        assert_eq!(sqlite3(&database, &after).as_deref(), Ok("2"), "{name}");
        fleet.await_settled(name);
        for node in &fleet.nodes {
            let count = sqlite3(&node.database(name), COUNT);
            assert_eq!(count.as_deref(), Ok("2"), "{name}");
            let whole = sqlite3(&node.database(name), "PRAGMA integrity_check");
            assert_eq!(whole.as_deref(), Ok("ok"), "{name}");
        }
    }
    fleet.stop_all();
}
