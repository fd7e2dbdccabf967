//! Checkpoints of every kind, the log that begins anew, goes and comes back, and old snapshots meanwhile.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, assert_agreement, await_same_position};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: &str = "SELECT count(*) FROM t";
const INSERT: &str = "INSERT INTO t(x) VALUES (randomblob(2000));";
const KINDS: [&str; 4] = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];

both_ways! {
    every_kind_with_old_snapshots
    the_last_close_and_the_next_open
    a_rollback_that_began_the_log_anew
    limits_of_the_size
    on_a_replica
    a_log_that_stays_after_the_last_close
}

/// A database in WAL mode that checkpoints only when it is told to.
fn in_wal_mode(passthrough: bool) -> Option<(Cluster, Session)> {
    let cluster = Cluster::pair_with(LIMIT, passthrough)?;
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE t(id INTEGER PRIMARY KEY, x)",
    );
    await_same_position(&cluster.primary, cluster.replica(), "app");
    Some((cluster, session))
}

fn every_kind_with_old_snapshots(passthrough: bool) {
    let Some((cluster, mut writer)) = in_wal_mode(passthrough) else {
        return;
    };
    let tag = cluster.stage.tag();
    let mut readers = [&cluster.primary, cluster.replica()]
        .map(|node| Session::open(tag, &node.database("app"), Access::ReadWrite));
    writer.rows("PRAGMA busy_timeout = 50");
    let mut rows = 0;
    for (round, kind) in KINDS.iter().cycle().take(12).enumerate() {
        let before = txid(&cluster, "app");
        let mut seen = Vec::new();
        for reader in &mut readers {
            seen.push(reader.value(&format!("BEGIN; {COUNT}")));
        }
        writer.rows(&INSERT.repeat(3));
        writer.rows(&format!("PRAGMA wal_checkpoint({kind}); {INSERT}"));
        if round % 3 == 0 {
            // Into the file under the readers' feet, as far as they allow.
            writer.rows(&format!(
                "UPDATE t SET x = randomblob(1500); PRAGMA wal_checkpoint({kind})"
            ));
        }
        await_same_position(&cluster.primary, cluster.replica(), "app");
        for (reader, seen) in readers.iter_mut().zip(seen) {
            assert_eq!(reader.value(COUNT), seen, "{kind}: an old snapshot");
            assert_eq!(reader.value("PRAGMA quick_check"), "ok");
            reader.rows("COMMIT");
        }
        writer.rows(&format!("PRAGMA wal_checkpoint({kind}); {INSERT}"));
        rows += 5;
        let made = assert_agreement(&cluster, "app").txid - before;
        assert_eq!(made, 5 + u64::from(round % 3 == 0), "{kind}");
        assert_eq!(there(&cluster, "app", COUNT), rows.to_string());
    }
    readers.into_iter().for_each(Session::close);
    writer.close();
    assert_agreement(&cluster, "app");
}

/// The log is removed and made again each time.
fn the_last_close_and_the_next_open(passthrough: bool) {
    let Some((cluster, writer)) = in_wal_mode(passthrough) else {
        return;
    };
    writer.close();
    let database = cluster.primary.database("app");
    let before = txid(&cluster, "app");
    for _ in 0..20 {
        run(&database, &INSERT.repeat(2));
    }
    assert_eq!(assert_agreement(&cluster, "app").txid, before + 40);
    assert_eq!(there(&cluster, "app", COUNT), "40");
}

/// Its frames are never committed, and the next connection writes the header again with other salts.
fn a_rollback_that_began_the_log_anew(passthrough: bool) {
    let Some((cluster, mut writer)) = in_wal_mode(passthrough) else {
        return;
    };
    let mut other = Session::open(
        cluster.stage.tag(),
        &cluster.primary.database("app"),
        Access::ReadWrite,
    );
    let before = txid(&cluster, "app");
    writer.rows("PRAGMA cache_size = 2");
    for _ in 0..8 {
        writer.rows(&format!("{INSERT} PRAGMA wal_checkpoint"));
        writer.rows(&format!("BEGIN; {} ROLLBACK", INSERT.repeat(30)));
        other.rows(INSERT);
        writer.rows(&format!("BEGIN; {} ROLLBACK", INSERT.repeat(30)));
        assert_agreement(&cluster, "app");
    }
    assert_eq!(txid(&cluster, "app"), before + 16);
    other.close();
    writer.close();
    assert_agreement(&cluster, "app");
}

fn limits_of_the_size(passthrough: bool) {
    for mode in ["wal", "persist"] {
        for limit in [0, 20_000] {
            let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
                return;
            };
            let database = cluster.primary.database("app");
            let mut writer = Session::open(cluster.stage.tag(), &database, Access::Create);
            writer.rows(&format!(
                "PRAGMA journal_mode = {mode}; PRAGMA journal_size_limit = {limit};
                 PRAGMA synchronous = normal; PRAGMA wal_autocheckpoint = 5;
                 CREATE TABLE t(id INTEGER PRIMARY KEY, x); {}",
                INSERT.repeat(20)
            ));
            let before = txid(&cluster, "app");
            for _ in 0..10 {
                writer.rows("UPDATE t SET x = randomblob(3000)");
                writer.rows(INSERT);
            }
            let made = assert_agreement(&cluster, "app").txid - before;
            assert_eq!(made, 20, "{mode}, at most {limit} bytes");
            writer.close();
            assert_agreement(&cluster, "app");
        }
    }
}

/// Copies what is committed; takes no lock that the replica holds, and stalls nothing.
fn on_a_replica(passthrough: bool) {
    let Some((cluster, mut writer)) = in_wal_mode(passthrough) else {
        return;
    };
    let there = cluster.replica().database("app");
    let mut reader = Session::open(cluster.stage.tag(), &there, Access::ReadWrite);
    reader.rows("PRAGMA busy_timeout = 100");
    for (rows, kind) in (1..=8).zip(KINDS.iter().cycle()) {
        writer.rows(INSERT);
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let answer = reader.rows(&format!("PRAGMA wal_checkpoint({kind})"));
        let busy = if *kind == "PASSIVE" { "0" } else { "1" };
        assert_eq!(answer[0][0], busy, "{kind}: {answer:?}");
        assert_eq!(reader.value(COUNT), rows.to_string());
        assert_agreement(&cluster, "app");
    }
    reader.close();
    writer.rows(&INSERT.repeat(5));
    writer.close();
    assert_agreement(&cluster, "app");
}

/// SQLITE_FCNTL_PERSIST_WAL, with a limit of its size: the file is emptied and not removed.
fn a_log_that_stays_after_the_last_close(passthrough: bool) {
    for limit in [-1, 0] {
        let Some((cluster, writer)) = in_wal_mode(passthrough) else {
            return;
        };
        writer.close();
        let database = cluster.primary.database("app");
        let before = txid(&cluster, "app");
        for round in 1..=5 {
            let mut session = Session::open(cluster.stage.tag(), &database, Access::ReadWrite);
            session.rows(&format!("PRAGMA journal_size_limit = {limit}; {COUNT}"));
            session.file_control(10, 1);
            session.rows(&INSERT.repeat(2));
            session.close();
            assert!(fs::metadata(cluster.primary.database("app-wal")).is_ok());
            let made = assert_agreement(&cluster, "app").txid - before;
            assert_eq!(made, round * 2, "limit {limit}");
        }
    }
}
