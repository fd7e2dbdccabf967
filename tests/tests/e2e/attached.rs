//! Transactions over several databases, not all of them on the mount, and applications that die in the middle.

use std::path::Path;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, PlainDirectory, assert_agreement, until};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(150);
const PROGRESS: Duration = Duration::from_secs(20);
const BOTH: &str = "BEGIN; INSERT INTO main.t(x) VALUES (randomblob(2500));
    INSERT INTO other.t(x) VALUES (randomblob(2500)); COMMIT;";
const UNDONE: &str =
    "BEGIN; UPDATE main.t SET x = randomblob(3000); UPDATE other.t SET x = randomblob(3000);
    ROLLBACK;";
const COUNT: &str = "SELECT count(*) FROM t";
const ROLLBACK_MODES: [JournalMode; 3] = [
    JournalMode::Delete,
    JournalMode::Truncate,
    JournalMode::Persist,
];

both_ways! {
    one_of_them_outside
    names_are_long
    the_application_is_killed_in_between
    in_different_modes
}

/// A connection to `main` with `other` attached, and the same table in both. With a cache so small that pages are
/// written before the end.
fn attached(tag: &str, main: &Path, other: &Path, modes: [JournalMode; 2]) -> Session {
    let mut session = Session::open(tag, main, Access::Create);
    session.rows(&format!("ATTACH '{}' AS other", other.display()));
    for (schema, mode) in ["main", "other"].into_iter().zip(modes) {
        session.rows(&format!(
            "PRAGMA {schema}.journal_mode = {mode}; PRAGMA {schema}.cache_size = 2;
             CREATE TABLE IF NOT EXISTS {schema}.t(id INTEGER PRIMARY KEY, x)"
        ));
    }
    session
}

/// The super-journal is beside the main database: on the mount, or where nobody sees it.
fn one_of_them_outside(passthrough: bool) {
    for mode in ROLLBACK_MODES {
        for inside_is_main in [true, false] {
            let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
                return;
            };
            let outside = PlainDirectory::new(&cluster.stage, "outside").database("away");
            let inside = cluster.primary.database("app");
            let (main, other) = if inside_is_main {
                (&inside, &outside)
            } else {
                (&outside, &inside)
            };
            let mut session = attached(cluster.stage.tag(), main, other, [mode, mode]);
            let before = txid(&cluster, "app");
            for _ in 0..10 {
                session.rows(BOTH);
            }
            assert_eq!(
                txid(&cluster, "app"),
                before + 10,
                "{mode}, main inside: {inside_is_main}"
            );
            session.rows(&UNDONE.repeat(2));
            session.rows(BOTH);
            session.close();
            assert_agreement(&cluster, "app");
            for database in [&inside, &outside] {
                assert_eq!(run(database, COUNT), "11");
            }
            assert_eq!(there(&cluster, "app", COUNT), "11");
            let databases = cluster.primary.api().info().expect("it answers").databases;
            assert_eq!(databases.len(), 1, "a super-journal is no database");
        }
    }
}

/// Together with the mount point these are nearly as long as SQLite allows.
fn names_are_long(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let names = ["a", "b"].map(|letter| letter.repeat(200));
    let [a, b] = names.each_ref().map(|name| cluster.primary.database(name));
    for mode in ROLLBACK_MODES {
        let mut session = attached(cluster.stage.tag(), &a, &b, [mode, mode]);
        let before = names.each_ref().map(|name| txid(&cluster, name));
        for _ in 0..5 {
            session.rows(BOTH);
        }
        let after = names.each_ref().map(|name| txid(&cluster, name));
        assert_eq!(after, before.map(|txid| txid + 5), "{mode}");
        session.rows(UNDONE);
        session.close();
    }
    for name in &names {
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "15");
    }
}

/// Whatever is left - journals of both, of one, with or without the super-journal - the next application undoes or
/// keeps both, and the replica follows.
fn the_application_is_killed_in_between(passthrough: bool) {
    for mode in ROLLBACK_MODES {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let [a, b] = ["a", "b"].map(|name| cluster.primary.database(name));
        drop(attached(cluster.stage.tag(), &a, &b, [mode, mode]));
        for round in 0..8 {
            let mut session = attached(cluster.stage.tag(), &a, &b, [mode, mode]);
            let begun = txid(&cluster, "a");
            session.begin(&BOTH.repeat(300));
            until(PROGRESS, "some commits", || {
                txid(&cluster, "a") > begun + 2 + round % 3
            });
            session.kill();
            let counts = [&a, &b].map(|database| run(database, COUNT));
            assert_eq!(counts[0], counts[1], "{mode}, round {round}: one of two");
            for (name, count) in ["a", "b"].into_iter().zip(&counts) {
                assert_agreement(&cluster, name);
                assert_eq!(&there(&cluster, name, COUNT), count, "{mode}");
            }
        }
    }
}

/// A log has no part in a super-journal: then there is none, and each file commits by itself.
fn in_different_modes(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let [a, b] = ["a", "b"].map(|name| cluster.primary.database(name));
    let modes = [JournalMode::Wal, JournalMode::Persist];
    let mut session = attached(cluster.stage.tag(), &a, &b, modes);
    let before = ["a", "b"].map(|name| txid(&cluster, name));
    for _ in 0..10 {
        session.rows(BOTH);
    }
    let after = ["a", "b"].map(|name| txid(&cluster, name));
    assert_eq!(after, before.map(|txid| txid + 10));
    session.rows(UNDONE);
    session.rows(BOTH);
    session.close();
    for name in ["a", "b"] {
        assert_agreement(&cluster, name);
        assert_eq!(there(&cluster, name, COUNT), "11");
    }
}
