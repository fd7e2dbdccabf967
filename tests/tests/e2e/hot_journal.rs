//! An application dies within a transaction, and nobody opens the database after it.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, PlainDirectory, assert_agreement, integrity, litefs, sqlite3};

const LIMIT: Duration = Duration::from_secs(120);

const MODES: [JournalMode; 3] = [
    JournalMode::Delete,
    JournalMode::Truncate,
    JournalMode::Persist,
];

/// A pair whose application was killed after it had spilled pages, also free ones that are in no journal.
fn killed_within(mode: JournalMode) -> Option<Cluster> {
    let cluster = Cluster::pair(LIMIT)?;
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, x);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100)
         INSERT INTO t SELECT n, randomblob(2000) FROM c;
         DELETE FROM t WHERE n > 60"
    ));
    assert_agreement(&cluster, "app");
    session.rows(
        "PRAGMA cache_size = 3; BEGIN IMMEDIATE;
         UPDATE t SET x = randomblob(2000);
         WITH RECURSIVE c(n) AS (SELECT 200 UNION ALL SELECT n + 1 FROM c WHERE n < 300)
         INSERT INTO t SELECT n, randomblob(2000) FROM c",
    );
    session.kill();
    Some(cluster)
}

#[test]
fn an_export_plays_the_journal_back_as_a_reader_would() {
    for mode in MODES {
        let Some(cluster) = killed_within(mode) else {
            return;
        };
        // What it leaves of free pages that were used again is a transaction: the position moves with the export.
        let exported = cluster.primary.api().export("app");
        assert!(exported.is_ok(), "{:?}", exported.err());
        assert_agreement(&cluster, "app");
        for node in [&cluster.primary, cluster.replica()] {
            let database = node.database("app");
            assert_eq!(
                sqlite3(&database, "SELECT count(*) FROM t"),
                Ok("60".into())
            );
            assert_eq!(integrity(&database), "ok");
        }
        assert_agreement(&cluster, "app");
        cluster_goes_on(&cluster);
    }
}

#[test]
fn an_import_is_not_rolled_back_by_it() {
    for mode in MODES {
        let Some(cluster) = killed_within(mode) else {
            return;
        };
        let outside = PlainDirectory::new(&cluster.stage, "outside");
        let source = outside.database("source");
        sqlite3(
            &source,
            "CREATE TABLE t(n INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 'imported')",
        )
        .expect("a plain directory");
        let api = cluster.primary.api();
        let source = source.display().to_string();
        let imported = litefs(&["import", "-url", api.url(), "-name", "app", &source]);
        assert!(imported.status.success(), "{}", imported.output);
        for node in [&cluster.primary, cluster.replica()] {
            assert_agreement(&cluster, "app");
            let database = node.database("app");
            assert_eq!(sqlite3(&database, "SELECT x FROM t"), Ok("imported".into()));
            assert_eq!(integrity(&database), "ok");
        }
        cluster_goes_on(&cluster);
    }
}

fn cluster_goes_on(cluster: &Cluster) {
    let mut session = Session::open(
        cluster.stage.tag(),
        &cluster.primary.database("app"),
        Access::ReadWrite,
    );
    session.rows("INSERT INTO t VALUES (1000, 'after')");
    session.close();
    assert_agreement(cluster, "app");
}
