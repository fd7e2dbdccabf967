//! Import and export: whole databases in and out, while applications have them open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{
    Cluster, PlainDirectory, assert_agreement, await_same_position, digest, integrity, litefs,
    sqlite3,
};

const LIMIT: Duration = Duration::from_secs(90);
const COUNT: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'imported'";

/// A database outside, complete in one file, with a table `imported` beside a ledger.
fn outside(cluster: &Cluster, mode: JournalMode, page_size: u32) -> PathBuf {
    let database = PlainDirectory::new(&cluster.stage, "outside").database("source.db");
    Workload::new(mode, page_size, 91)
        .transactions(30)
        .run(cluster.stage.tag(), &database);
    sqlite3(
        &database,
        "CREATE TABLE imported(x); INSERT INTO imported VALUES (42)",
    )
    .expect("a table more");
    database
}

#[track_caller]
fn import(cluster: &Cluster, name: &str, source: &Path) {
    let path = source.to_str().expect("our paths are text");
    let ended = litefs(&[
        "import",
        "-url",
        cluster.primary.api().url(),
        "-name",
        name,
        path,
    ]);
    assert!(ended.status.success(), "{}", ended.output);
}

#[test]
fn a_new_database() {
    for (mode, page_size) in [(JournalMode::Delete, 4096), (JournalMode::Wal, 512)] {
        let Some(mut cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let source = outside(&cluster, mode, page_size);
        import(&cluster, "app", &source);
        let pos = assert_agreement(&cluster, "app");
        assert_eq!(pos.txid, 1, "an import is one transaction");
        assert_eq!(digest(&cluster.replica().database("app")), digest(&source));
        // And it is a database like any other from then on.
        let workload = Workload::new(mode, page_size, 91).transactions(20).more(92);
        workload.run(cluster.stage.tag(), &cluster.primary.database("app"));
        assert_agreement(&cluster, "app");
        cluster.stop();
    }
}

/// Connections on both nodes see the new content at their next transaction.
fn over_an_open_database(mode: JournalMode, imported: JournalMode, page_size: u32) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    Workload::new(mode, 4096, 93)
        .transactions(30)
        .run(&tag, &database);
    let before = await_same_position(&cluster.primary, cluster.replica(), "app");
    let source = outside(&cluster, imported, page_size);
    let mut here = Session::open(&tag, &database, Access::ReadWrite);
    let mut there = Session::open(&tag, &cluster.replica().database("app"), Access::ReadWrite);
    for session in [&mut here, &mut there] {
        assert_eq!(session.value(COUNT), "0");
        session.rows("SELECT * FROM account; SELECT * FROM item");
    }

    import(&cluster, "app", &source);
    let after = await_same_position(&cluster.primary, cluster.replica(), "app");
    assert_eq!(after.txid, before.txid + 1, "an import is one transaction");
    for (node, session) in [("primary", &mut here), ("replica", &mut there)] {
        assert_eq!(session.value(COUNT), "1", "on the {node}");
        assert_eq!(
            session.value("SELECT x FROM imported"),
            "42",
            "on the {node}"
        );
        assert_eq!(
            session.value("PRAGMA integrity_check"),
            "ok",
            "on the {node}"
        );
    }
    assert_eq!(digest(&database), digest(&source));
    here.rows("UPDATE imported SET x = 43");
    await_same_position(&cluster.primary, cluster.replica(), "app");
    assert_eq!(there.value("SELECT x FROM imported"), "43");
    assert_agreement(&cluster, "app");
    drop((here, there));
    cluster.stop();
}

#[test]
fn over_an_open_database_in_delete_mode() {
    over_an_open_database(JournalMode::Delete, JournalMode::Delete, 4096);
}

#[test]
fn over_an_open_database_in_wal_mode() {
    over_an_open_database(JournalMode::Wal, JournalMode::Wal, 4096);
}

#[test]
fn over_an_open_database_with_another_page_size_in_delete_mode() {
    over_an_open_database(JournalMode::Delete, JournalMode::Delete, 1024);
}

#[test]
fn over_an_open_database_with_another_page_size_in_wal_mode() {
    over_an_open_database(JournalMode::Wal, JournalMode::Wal, 8192);
}

#[test]
fn export_while_writing_is_one_moment() {
    for mode in [JournalMode::Persist, JournalMode::Wal] {
        let Some(cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let tag = cluster.stage.tag();
        let workload = Workload::new(mode, 4096, 95).transactions(150);
        workload
            .tables_only()
            .run(tag, &cluster.primary.database("app"));
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let mut running = workload
            .more(96)
            .start(tag, &cluster.primary.database("app"));
        let directory = PlainDirectory::new(&cluster.stage, "exports");
        let mut exports = 0;
        while !running.ended() {
            for (node, name) in [
                (&cluster.primary, "primary.db"),
                (cluster.replica(), "replica.db"),
            ] {
                let copy = directory.database(name);
                let path = copy.to_str().expect("our paths are text");
                let ended = litefs(&["export", "-url", node.api().url(), "-name", "app", path]);
                assert!(ended.status.success(), "{}", ended.output);
                assert_eq!(integrity(&copy), "ok");
                let far = "SELECT count(DISTINCT value) FROM tick WHERE id IN (1, 64)";
                assert_eq!(
                    sqlite3(&copy, far).as_deref(),
                    Ok("1"),
                    "half a transaction in an export"
                );
                exports += 1;
            }
        }
        running.succeed();
        assert!(exports > 0, "the workload was too short for an export");
        assert_agreement(&cluster, "app");
    }
}

#[test]
fn export_replaces_a_file_as_a_whole() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let directory = PlainDirectory::new(&cluster.stage, "exports");
    let path = directory.database("copy.db");
    let text = path.to_str().expect("our paths are text");
    fs::write(&path, "precious").expect("the directory of a stage is ours");
    let url = cluster.primary.api().url().to_owned();

    let ended = litefs(&["export", "-url", &url, "-name", "nosuch", text]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("database not found") || ended.output.contains("nosuch not found"),
        "{}",
        ended.output
    );
    assert_eq!(
        fs::read(&path).expect("the file is there"),
        b"precious",
        "a refused export changes nothing"
    );

    Workload::new(JournalMode::Wal, 4096, 97)
        .transactions(10)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    let ended = litefs(&["export", "-url", &url, "-name", "app", text]);
    assert!(ended.status.success(), "{}", ended.output);
    assert_eq!(digest(&path), digest(&cluster.primary.database("app")));
    let names: Vec<_> = fs::read_dir(directory.path())
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| name.to_string_lossy().starts_with("copy.db")),
        "something is left: {names:?}"
    );
}
