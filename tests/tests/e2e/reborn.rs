//! A database that is deleted and made again under the same name, while applications have the old one open.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, Node, assert_agreement, await_same_position, until};

use crate::both::{both_ways, run, there};

const LIMIT: Duration = Duration::from_secs(150);
const ARRIVED: Duration = Duration::from_secs(20);

both_ways! {
    old_handles_do_not_reach_the_successor
    over_and_over
}

/// As an application deletes a database.
fn delete(node: &Node, name: &str) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        // The node removes those that it knows to be companions.
        let _ = fs::remove_file(node.database(&format!("{name}{suffix}")));
    }
    assert!(!node.database(name).exists(), "{name} is gone");
}

fn made(mode: JournalMode, value: u32) -> String {
    format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         INSERT INTO t VALUES (1, {value})"
    )
}

/// A handle in a rollback mode beside a successor in WAL mode is left out: there SQLite itself, on any file system,
/// takes the successor's log for that of the old file.
///
/// Their writes fail or go into the file that has no name any more; their last close checkpoints nothing into the
/// successor and removes nothing of it.
fn old_handles_do_not_reach_the_successor(passthrough: bool) {
    for (old, new) in [
        (JournalMode::Delete, JournalMode::Delete),
        (JournalMode::Persist, JournalMode::Truncate),
        (JournalMode::Wal, JournalMode::Wal),
        (JournalMode::Wal, JournalMode::Truncate),
    ] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let (tag, database) = (cluster.stage.tag(), cluster.primary.database("app"));
        run(&database, &made(old, 1));
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let mut handle = Session::open(tag, &database, Access::ReadWrite);
        let mut idle = Session::open(tag, &database, Access::ReadWrite);
        let mut far = Session::open(tag, &cluster.replica().database("app"), Access::ReadWrite);
        for session in [&mut handle, &mut idle] {
            session.rows("PRAGMA busy_timeout = 300; UPDATE t SET x = x WHERE id = 1");
        }
        assert_eq!(far.value("SELECT x FROM t"), "1");

        delete(&cluster.primary, "app");
        run(&database, &made(new, 2));
        let mut successor = Session::open(tag, &database, Access::ReadWrite);
        successor.rows(&format!("PRAGMA journal_mode = {new}"));
        for number in 10..15 {
            // What SQLite says to that is its own affair.
            let _ = handle.run("INSERT INTO t(x) VALUES (randomblob(20000))");
            let _ = handle.run("UPDATE t SET x = 666; PRAGMA wal_checkpoint(TRUNCATE)");
            successor.rows(&format!("INSERT INTO t VALUES ({number}, {number})"));
        }
        handle.close();
        idle.close();
        successor.rows("INSERT INTO t VALUES (15, 15)");
        until(ARRIVED, "the successor is on the replica", || {
            cluster.primary.pos("app") == cluster.replica().pos("app")
        });
        assert_agreement(&cluster, "app");
        let sum = "SELECT count(*) || ' ' || sum(x) FROM t";
        assert_eq!(there(&cluster, "app", sum), "7 77", "{old}, then {new}");
        assert_eq!(successor.value(sum), "7 77", "{old}, then {new}");
        if let Ok(rows) = far.run("SELECT x FROM t WHERE id = 1") {
            assert_eq!(rows, [["1"]], "an old connection sees the old database");
        }
        successor.close();
        assert_agreement(&cluster, "app");
    }
}

/// With a writer and a reader on the replica that are never closed before the next one is there.
fn over_and_over(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let (tag, database) = (cluster.stage.tag(), cluster.primary.database("app"));
    let mut open = Vec::new();
    for (round, mode) in (1..=12).zip(JournalMode::ALL.into_iter().cycle()) {
        let mut writer = Session::open(tag, &database, Access::Create);
        writer.rows(&made(mode, round));
        writer.rows("INSERT INTO t(x) SELECT randomblob(3000) FROM t");
        if round % 3 == 0 {
            assert_agreement(&cluster, "app");
            let mut reader =
                Session::open(tag, &cluster.replica().database("app"), Access::ReadWrite);
            assert_eq!(
                reader.value("SELECT x FROM t WHERE id = 1"),
                round.to_string()
            );
            open.push(reader);
        }
        open.push(writer);
        delete(&cluster.primary, "app");
    }
    run(&database, &made(JournalMode::Wal, 77));
    until(ARRIVED, "the last one is on the replica", || {
        cluster.replica().database("app").exists()
            && cluster.primary.pos("app") == cluster.replica().pos("app")
    });
    drop(open);
    assert_agreement(&cluster, "app");
    assert_eq!(there(&cluster, "app", "SELECT x FROM t"), "77");
}
