//! What applications get that write on a replica: the right error, and nothing changes.

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{Cluster, assert_agreement, await_same_position};

use crate::both::both_ways;

const LIMIT: Duration = Duration::from_secs(90);
const BUSY: i32 = 5;
const READONLY: i32 = 8;
const WRITE: &str = "UPDATE tick SET value = value + 100";

both_ways! {
    attempts_stall_nothing
}

/// A pair with a ledger in `mode` on both nodes.
fn pair_with_ledger(mode: JournalMode) -> Option<(Cluster, Workload)> {
    let cluster = Cluster::pair(LIMIT)?;
    let workload = Workload::new(mode, 4096, 5).transactions(30);
    workload.run(cluster.stage.tag(), &cluster.primary.database("app"));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    Some((cluster, workload))
}

fn rollback_write_is_readonly(mode: JournalMode) {
    let Some((cluster, workload)) = pair_with_ledger(mode) else {
        return;
    };
    let (tag, there) = (cluster.stage.tag(), cluster.replica().database("app"));
    let running = workload
        .more(6)
        .start(tag, &cluster.primary.database("app"));
    let mut application = Session::open(tag, &there, Access::ReadWrite);
    application.rows(&format!("PRAGMA journal_mode = {mode}"));
    for sql in [
        WRITE,
        "DELETE FROM item",
        "CREATE TABLE new(x)",
        "BEGIN IMMEDIATE; INSERT INTO account VALUES (99, 0, '')",
    ] {
        let error = application.error(sql);
        assert_eq!(
            (error.code, error.text.as_str()),
            (READONLY, "attempt to write a readonly database"),
            "{sql}"
        );
        // BEGIN IMMEDIATE takes the lock, and only the write after it is refused.
        let _ = application.run("ROLLBACK");
    }
    running.succeed();
    assert_eq!(
        application.value("SELECT count(*) FROM account WHERE id = 99"),
        "0"
    );
    assert_agreement(&cluster, "app");
}

#[test]
fn delete_mode_write_is_readonly() {
    rollback_write_is_readonly(JournalMode::Delete);
}

#[test]
fn truncate_mode_write_is_readonly() {
    rollback_write_is_readonly(JournalMode::Truncate);
}

#[test]
fn persist_mode_write_is_readonly() {
    rollback_write_is_readonly(JournalMode::Persist);
}

#[test]
fn wal_write_waits_for_its_busy_timeout_and_replication_goes_on() {
    let Some((cluster, workload)) = pair_with_ledger(JournalMode::Wal) else {
        return;
    };
    let (tag, there) = (cluster.stage.tag(), cluster.replica().database("app"));
    let mut application = Session::open(tag, &there, Access::ReadWrite);
    application.rows("PRAGMA busy_timeout = 1500");
    let before = cluster.replica().pos("app").expect("the replica has it");

    for sql in [WRITE, "BEGIN IMMEDIATE"] {
        let begun = Instant::now();
        application.begin(sql);
        workload
            .clone()
            .more(7)
            .run(tag, &cluster.primary.database("app"));
        let reached = await_same_position(&cluster.primary, cluster.replica(), "app");
        assert!(
            reached.txid > before.txid,
            "transactions arrive while a writer waits"
        );
        let error = application
            .finish()
            .expect_err("no application writes on a replica");
        assert_eq!(
            (error.code, error.text.as_str()),
            (BUSY, "database is locked"),
            "{sql}"
        );
        assert!(
            begun.elapsed() >= Duration::from_millis(1500),
            "it waited for its busy timeout"
        );
    }
    assert_agreement(&cluster, "app");
}

#[test]
fn writes_without_a_journal_are_refused() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let Some((cluster, _)) = pair_with_ledger(mode) else {
            return;
        };
        let there = cluster.replica().database("app");
        let mut application = Session::open(cluster.stage.tag(), &there, Access::ReadWrite);
        application.rows("PRAGMA busy_timeout = 200");
        for journal in ["memory", "off"] {
            // Leaving WAL mode is refused as well; then the write is tried in WAL mode.
            let _ = application.run(&format!("PRAGMA journal_mode = {journal}"));
            application.error(WRITE);
            let _ = application.run("ROLLBACK");
        }
        assert_agreement(&cluster, "app");
    }
}

#[test]
fn files_of_a_replica_cannot_be_changed_by_hand() {
    let Some((cluster, _)) = pair_with_ledger(JournalMode::Delete) else {
        return;
    };
    let replica = cluster.replica();
    let refused = |what: &str, result: std::io::Result<()>| {
        let error = result.expect_err(what);
        assert!(
            matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ),
            "{what}: {error}"
        );
    };
    refused("write", fs::write(replica.database("app"), "rubbish"));
    refused(
        "truncate",
        fs::File::options()
            .write(true)
            .open(replica.database("app"))
            .and_then(|file| file.set_len(0)),
    );
    refused("unlink", fs::remove_file(replica.database("app")));
    refused("create", fs::write(replica.database("new"), "rubbish"));
    refused(
        "create a journal",
        fs::write(replica.database("app-journal"), "rubbish"),
    );
    assert_agreement(&cluster, "app");
    assert!(!replica.database("new").exists());
    assert!(
        replica.api().database("new").is_none(),
        "nothing of it is left"
    );
}

/// Attempts while transactions arrive, with a journal and without. (A transaction that stays open after it was refused
/// delays the apply as a reader's does.)
fn attempts_stall_nothing(passthrough: bool) {
    for (mode, journal) in [
        (JournalMode::Delete, "delete"),
        (JournalMode::Delete, "memory"),
        (JournalMode::Persist, "off"),
    ] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let tag = cluster.stage.tag();
        let workload = Workload::new(mode, 4096, 5).transactions(20);
        workload.run(tag, &cluster.primary.database("app"));
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let there = cluster.replica().database("app");
        let mut application = Session::open(tag, &there, Access::ReadWrite);
        application.rows(&format!(
            "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = {journal}"
        ));
        let mut running = workload
            .more(6)
            .start(tag, &cluster.primary.database("app"));
        while !running.ended() {
            for sql in [
                WRITE,
                "BEGIN IMMEDIATE; UPDATE account SET balance = 0; COMMIT",
            ] {
                application.error(sql);
                let _ = application.run("ROLLBACK");
            }
        }
        running.succeed();
        assert_agreement(&cluster, "app");
    }
}
