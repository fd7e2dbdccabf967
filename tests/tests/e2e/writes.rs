//! Transactions that leave more, or less, in the files than a plain one: how many TXIDs they are, and that the replica
//! has every byte of them.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, assert_agreement};

use crate::both::{both_ways, there, txid};

const LIMIT: Duration = Duration::from_secs(120);
const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
    INSERT INTO t(x) SELECT randomblob(6000) FROM n;";

both_ways! {
    free_pages_used_again
    a_rollback_after_a_spill
    a_lock_without_a_write
    savepoints_with_a_spill
    journals_of_several_segments
    temporary_tables_and_what_writes_nothing
}

/// For each journal mode a pair and a connection to a database with a table that has free pages and a few rows.
fn in_each_mode(passthrough: bool, check: impl Fn(&Cluster, &mut Session, JournalMode)) {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x); {MANY}
             DELETE FROM t WHERE id > 5; PRAGMA cache_size = 5"
        ));
        check(&cluster, &mut session, mode);
        assert_agreement(&cluster, "app");
        session.close();
        assert_agreement(&cluster, "app");
    }
}

/// The TXIDs that `sql` makes.
#[track_caller]
fn txids(cluster: &Cluster, session: &mut Session, sql: &str) -> u64 {
    let before = txid(cluster, "app");
    session.rows(sql);
    txid(cluster, "app") - before
}

/// SQLite does not journal them, so the journal does not tell.
fn free_pages_used_again(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        for _ in 0..3 {
            assert_eq!(txids(cluster, session, MANY), 1, "{mode}");
            assert_agreement(cluster, "app");
            let freed = txids(cluster, session, "DELETE FROM t WHERE id > 5");
            assert_eq!(freed, 1, "{mode}");
        }
        assert_eq!(txids(cluster, session, MANY), 1, "{mode}");
    });
}

/// In the rollback modes it leaves other bytes in free pages: those are replicated as well.
fn a_rollback_after_a_spill(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        for _ in 0..3 {
            let undone = txids(cluster, session, &format!("BEGIN; {MANY} ROLLBACK"));
            match mode {
                JournalMode::Wal => assert_eq!(undone, 0),
                _ => assert!(undone <= 1, "{undone} TXIDs in {mode} mode"),
            }
            assert_agreement(cluster, "app");
            assert_eq!(session.value("SELECT count(*) FROM t"), "5");
            assert_eq!(
                txids(cluster, session, "UPDATE t SET x = randomblob(50)"),
                1
            );
        }
        assert_eq!(txids(cluster, session, MANY), 1, "{mode}");
        let undone = txids(
            cluster,
            session,
            "BEGIN; DELETE FROM t WHERE id > 3; UPDATE t SET x = randomblob(9000); ROLLBACK",
        );
        assert!(undone <= 1, "{undone} TXIDs in {mode} mode");
    });
}

fn a_lock_without_a_write(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        for sql in [
            "BEGIN IMMEDIATE; COMMIT",
            "BEGIN IMMEDIATE; SELECT count(*) FROM t; ROLLBACK",
            "BEGIN EXCLUSIVE; SELECT count(*) FROM t; COMMIT",
            "BEGIN IMMEDIATE; UPDATE t SET x = 1 WHERE id < 0; COMMIT",
            "BEGIN; DELETE FROM t WHERE id < 0; COMMIT",
        ] {
            assert_eq!(txids(cluster, session, sql), 0, "{sql} in {mode} mode");
        }
        assert_eq!(txids(cluster, session, "UPDATE t SET x = 1"), 1, "{mode}");
        assert_eq!(txids(cluster, session, "BEGIN IMMEDIATE; COMMIT"), 0);
    });
}

fn savepoints_with_a_spill(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        let nested = format!(
            "BEGIN; SAVEPOINT a; {MANY} SAVEPOINT b; DELETE FROM t WHERE id % 2; {MANY}
             ROLLBACK TO b; UPDATE t SET x = randomblob(100) WHERE id % 5 = 0; RELEASE b;
             SAVEPOINT c; {MANY} ROLLBACK TO a; {MANY} RELEASE a; COMMIT"
        );
        for _ in 0..2 {
            assert_eq!(txids(cluster, session, &nested), 1, "{mode}");
            assert_agreement(cluster, "app");
        }
        assert_eq!(session.value("SELECT count(*) FROM t"), "125");
        assert_eq!(there(cluster, "app", "SELECT count(*) FROM t"), "125");
    });
}

/// Each time the cache spills the journal is synced, and what follows has a header of its own.
fn journals_of_several_segments(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        session.rows(MANY);
        let long = "BEGIN; UPDATE t SET x = randomblob(6000) WHERE id % 3 = 0;
            UPDATE t SET x = randomblob(6000) WHERE id % 3 = 1;
            UPDATE t SET x = randomblob(6000) WHERE id % 3 = 2; COMMIT;";
        assert_eq!(txids(cluster, session, &long.repeat(2)), 2, "{mode}");
    });
}

fn temporary_tables_and_what_writes_nothing(passthrough: bool) {
    in_each_mode(passthrough, |cluster, session, mode| {
        for (sql, expected) in [
            ("CREATE TEMP TABLE s(x); INSERT INTO s SELECT x FROM t", 0),
            (
                "BEGIN; INSERT INTO s VALUES (1); DELETE FROM t WHERE 0; COMMIT",
                0,
            ),
            (
                "BEGIN; INSERT INTO s VALUES (2); INSERT INTO t(x) VALUES (2); COMMIT",
                1,
            ),
            ("PRAGMA user_version = 7", 1),
            ("PRAGMA application_id = 9", 1),
            ("CREATE INDEX i ON t(x); DROP INDEX i", 2),
            ("ANALYZE", 1),
        ] {
            let made = txids(cluster, session, sql);
            assert_eq!(made, expected, "{sql} in {mode} mode");
        }
        assert_agreement(cluster, "app");
        assert_eq!(there(cluster, "app", "PRAGMA user_version"), "7");
    });
}
