//! Changes of the journal mode in mid-life, with handles that were opened for the mode before.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, assert_agreement, await_same_position, until};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(120);
const ARRIVED: Duration = Duration::from_secs(20);
const COUNT: &str = "SELECT count(*) FROM t";
const LOCKED: &str = "database is locked";

both_ways! {
    from_wal_to_no_journal
    from_wal_by_way_of_delete_to_no_journal
    with_other_connections
    is_finished_on_the_replica_without_its_readers
    to_and_fro_through_one_handle
}

/// A database in WAL mode, and the connection that made it.
fn in_wal_mode(passthrough: bool) -> Option<(Cluster, Session)> {
    let cluster = Cluster::pair_with(LIMIT, passthrough)?;
    let database = cluster.primary.database("app");
    run(
        &database,
        "PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         INSERT INTO t(x) VALUES (randomblob(3000))",
    );
    let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
    session.rows("INSERT INTO t(x) VALUES (randomblob(3000))");
    await_same_position(&cluster.primary, cluster.replica(), "app");
    Some((cluster, session))
}

#[track_caller]
fn switch(session: &mut Session, mode: &str) {
    assert_eq!(
        session.value(&format!("PRAGMA journal_mode = {mode}")),
        mode
    );
}

/// Writes through the handle; what it says must be on the replica although nobody closes, syncs or asks for anything.
#[track_caller]
fn write_and_await(cluster: &Cluster, session: &mut Session, what: &str) {
    session.rows("INSERT INTO t(x) VALUES (randomblob(9000)); UPDATE t SET x = randomblob(4000) WHERE id = 1");
    let sum = "SELECT count(*) || hex(x) FROM t WHERE id = 1";
    let expected = session.value(sum);
    until(ARRIVED, what, || there(cluster, "app", sum) == expected);
}

/// The handle is passthrough, and the mount sees none of its writes.
fn from_wal_to_no_journal(passthrough: bool) {
    for mode in ["memory", "off"] {
        let Some((cluster, mut session)) = in_wal_mode(passthrough) else {
            return;
        };
        switch(&mut session, mode);
        for number in 1..=3 {
            write_and_await(&cluster, &mut session, &format!("write {number}, {mode}"));
        }
        assert_agreement(&cluster, "app");
        switch(&mut session, "wal");
        write_and_await(&cluster, &mut session, "in WAL mode again");
        session.close();
        assert_agreement(&cluster, "app");
    }
}

fn from_wal_by_way_of_delete_to_no_journal(passthrough: bool) {
    for mode in ["memory", "off"] {
        let Some((cluster, mut session)) = in_wal_mode(passthrough) else {
            return;
        };
        switch(&mut session, "delete");
        write_and_await(&cluster, &mut session, "in DELETE mode");
        switch(&mut session, mode);
        write_and_await(&cluster, &mut session, mode);
        // Another one meanwhile, through a handle of its own.
        run(
            &cluster.primary.database("app"),
            "INSERT INTO t(x) VALUES (1)",
        );
        write_and_await(&cluster, &mut session, mode);
        switch(&mut session, "persist");
        let before = txid(&cluster, "app");
        session.rows("INSERT INTO t(x) VALUES (2)");
        assert_eq!(txid(&cluster, "app"), before + 1);
        session.close();
        assert_agreement(&cluster, "app");
    }
}

/// Leaving WAL mode needs the database for oneself; entering it does not.
fn with_other_connections(passthrough: bool) {
    let Some((cluster, mut session)) = in_wal_mode(passthrough) else {
        return;
    };
    let mut other = Session::open(
        cluster.stage.tag(),
        &cluster.primary.database("app"),
        Access::ReadWrite,
    );
    assert_eq!(other.value(COUNT), "2");
    session.rows("PRAGMA busy_timeout = 200");
    assert_eq!(session.error("PRAGMA journal_mode = delete").text, LOCKED);
    session.rows("INSERT INTO t(x) VALUES (3)");
    other.rows("INSERT INTO t(x) VALUES (4)");
    other.close();
    switch(&mut session, "delete");
    let mut other = Session::open(
        cluster.stage.tag(),
        &cluster.primary.database("app"),
        Access::ReadWrite,
    );
    assert_eq!(other.value(COUNT), "4");
    let before = txid(&cluster, "app");
    switch(&mut session, "wal");
    for _ in 0..3 {
        for writer in [&mut session, &mut other] {
            writer.rows("INSERT INTO t(x) VALUES (randomblob(5000))");
        }
    }
    assert_eq!(other.value(COUNT), "10");
    assert_eq!(other.value("PRAGMA journal_mode"), "wal");
    let after = assert_agreement(&cluster, "app").txid;
    assert_eq!(after, before + 7, "the switch and six inserts");
    other.close();
    session.close();
    assert_agreement(&cluster, "app");
}

/// The replica goes on in WAL mode while its readers are connected, and leaves it once they are gone.
fn is_finished_on_the_replica_without_its_readers(passthrough: bool) {
    let Some((cluster, mut session)) = in_wal_mode(passthrough) else {
        return;
    };
    let there = cluster.replica().database("app");
    let mut reader = Session::open(cluster.stage.tag(), &there, Access::ReadWrite);
    assert_eq!(reader.value(&format!("BEGIN; {COUNT}")), "2");
    switch(&mut session, "delete");
    session.rows("INSERT INTO t(x) VALUES (randomblob(9000))");
    await_same_position(&cluster.primary, cluster.replica(), "app");
    assert_eq!(reader.value(COUNT), "2", "its snapshot is as it was");
    reader.rows("COMMIT");
    assert_eq!(reader.value(COUNT), "3");
    let log = cluster.replica().database("app-wal");
    assert!(
        fs::metadata(&log).is_ok_and(|log| log.len() > 0),
        "an empty log would be taken for none"
    );
    reader.close();
    until(ARRIVED, "the replica leaves WAL mode", || !log.exists());
    assert_agreement(&cluster, "app");
    session.rows("INSERT INTO t(x) VALUES (4)");
    session.close();
    assert_agreement(&cluster, "app");
}

/// Every journal mode after every other, by one connection that is never closed.
fn to_and_fro_through_one_handle(passthrough: bool) {
    let Some((cluster, mut session)) = in_wal_mode(passthrough) else {
        return;
    };
    let modes = [
        "delete", "wal", "truncate", "memory", "wal", "off", "persist", "wal", "memory", "delete",
        "off", "wal",
    ];
    for mode in modes {
        switch(&mut session, mode);
        write_and_await(&cluster, &mut session, mode);
    }
    session.close();
    assert_agreement(&cluster, "app");
}
