//! Nodes that start on a data directory in which something is damaged or was never finished: they start, nothing is lost
//! that was kept, and replication goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{Cluster, Node, assert_agreement, await_same_position, digest, integrity, sqlite3};

const LIMIT: Duration = Duration::from_secs(120);

/// The file `name` of the database `app` in the data directory.
fn backing(node: &Node, name: &str) -> PathBuf {
    node.settings().data.join("dbs/app").join(name)
}

/// A pair with a ledger in `mode`, and its content.
fn pair_with_ledger(mode: JournalMode) -> Option<(Cluster, Workload, String)> {
    let cluster = Cluster::pair(LIMIT)?;
    let workload = Workload::new(mode, 4096, 81).transactions(25);
    let database = cluster.primary.database("app");
    workload.run(cluster.stage.tag(), &database);
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let content = digest(&database);
    Some((cluster, workload, content))
}

/// The node has the content again, and takes part again. Returns the content after that.
#[track_caller]
fn goes_on(cluster: &Cluster, workload: &Workload, content: &str, seed: u64) -> String {
    let database = cluster.primary.database("app");
    assert_eq!(digest(&database), content, "what was committed is there");
    assert_agreement(cluster, "app");
    let more = workload.clone().transactions(5).more(seed);
    more.run(cluster.stage.tag(), &database);
    assert_agreement(cluster, "app");
    digest(&database)
}

/// Changes a file of a node that is stopped.
#[track_caller]
fn change(path: &Path, damage: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the data directory is ours");
    damage(&mut bytes);
    fs::write(path, bytes).expect("the data directory is ours");
}

/// What SQLite would not open, or would call malformed.
const DAMAGES: [fn(&mut Vec<u8>); 3] = [
    |bytes| bytes.truncate(bytes.len() - 4096),
    |bytes| bytes[..100].fill(0x55),
    |bytes| bytes.clear(),
];

#[test]
fn a_database_of_the_primary_is_made_whole_from_its_log() {
    let Some((mut cluster, workload, mut content)) = pair_with_ledger(JournalMode::Delete) else {
        return;
    };
    for (seed, damage) in (500..).zip(DAMAGES) {
        let before = cluster.primary.pos("app");
        cluster.primary.stop();
        change(&backing(&cluster.primary, "database"), damage);
        cluster.primary.start();
        assert_eq!(cluster.primary.pos("app"), before);
        content = goes_on(&cluster, &workload, &content, seed);
    }
    cluster.stop();
}

/// A page whose content is wrong is found too: the checksum of the content is not that of the log.
fn replica_is_made_whole(mode: JournalMode) {
    let flip: fn(&mut Vec<u8>) = |bytes| {
        let at = bytes.len() - 1000;
        bytes[at] ^= 1;
    };
    let Some((mut cluster, workload, mut content)) = pair_with_ledger(mode) else {
        return;
    };
    for (seed, damage) in (510..).zip([flip].into_iter().chain(DAMAGES)) {
        cluster.replica_mut().stop();
        change(&backing(cluster.replica(), "database"), damage);
        cluster.replica_mut().start();
        content = goes_on(&cluster, &workload, &content, seed);
    }
    cluster.stop();
}

#[test]
fn a_database_of_the_replica_is_made_whole_in_delete_mode() {
    replica_is_made_whole(JournalMode::Delete);
}

#[test]
fn a_database_of_the_replica_is_made_whole_in_wal_mode() {
    replica_is_made_whole(JournalMode::Wal);
}

/// The newest file of the log is not needed for what is in the database.
#[test]
fn a_damaged_log_stops_nobody() {
    for on_primary in [true, false] {
        let Some((mut cluster, workload, content)) = pair_with_ledger(JournalMode::Wal) else {
            return;
        };
        let node = if on_primary {
            &mut cluster.primary
        } else {
            cluster.replica_mut()
        };
        node.stop();
        let newest = fs::read_dir(backing(node, "ltx"))
            .expect("the data directory is ours")
            .map(|entry| entry.expect("an entry").path())
            .max()
            .expect("there is a log");
        change(&newest, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 8].fill(0xaa);
        });
        node.start();
        goes_on(&cluster, &workload, &content, 520);
        cluster.stop();
    }
}

/// A file without content, as `touch` or the first connection of an application leaves it.
#[test]
fn an_empty_file_becomes_a_database() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows("SELECT count(*) FROM sqlite_schema");
    session.close();
    assert!(database.exists(), "the first connection makes the file");
    cluster.primary.kill();
    cluster.primary.start();
    assert_eq!(cluster.primary.pos("app").map_or(0, |pos| pos.txid), 0);
    let workload = Workload::new(JournalMode::Delete, 1024, 82).transactions(10);
    workload.run(cluster.stage.tag(), &database);
    assert_agreement(&cluster, "app");
    cluster.stop();
}

/// The very first transaction had reached the file when application and node died.
#[test]
fn a_first_transaction_that_never_ended_is_undone() {
    for mode in JournalMode::ALL {
        let Some(mut cluster) = Cluster::pair(LIMIT) else {
            return;
        };
        let tag = cluster.stage.tag().to_owned();
        let database = cluster.primary.database("app");
        let mut session = Session::open(&tag, &database, Access::Create);
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; PRAGMA cache_size = 2; BEGIN; CREATE TABLE t(x); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) \
             INSERT INTO t SELECT randomblob(1000) FROM n"
        ));
        cluster.primary.kill();
        session.kill();
        cluster.primary.start();
        let tables = sqlite3(&database, "SELECT count(*) FROM sqlite_schema");
        assert_eq!(tables.as_deref(), Ok("0"), "in {mode} mode");
        assert_eq!(integrity(&database), "ok");
        Workload::new(mode, 4096, 83)
            .transactions(10)
            .run(&tag, &database);
        assert_agreement(&cluster, "app");
        cluster.stop();
    }
}

/// Pages leave a small cache again and again, each time with another part of the journal before them.
#[test]
fn a_journal_of_several_segments_is_one_transaction() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(
        "PRAGMA journal_mode = delete; PRAGMA cache_size = 5; BEGIN; CREATE TABLE t(i INTEGER PRIMARY KEY, x); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         INSERT INTO t SELECT i, randomblob(400) FROM n; COMMIT",
    );
    session.rows("UPDATE t SET x = randomblob(400)");
    let pos = assert_agreement(&cluster, "app");
    assert_eq!(pos.txid, 2, "two transactions");
    // The same undone, which changes nothing.
    session.rows("BEGIN; UPDATE t SET x = randomblob(400); ROLLBACK");
    assert_eq!(assert_agreement(&cluster, "app"), pos);
    session.close();
    cluster.stop();
}

/// A replica that begins with nothing is sent the log; it must not be sent the same bad file for ever.
#[test]
fn a_damaged_file_in_the_middle_of_the_log_is_gone_around() {
    let Some((mut cluster, workload, content)) = pair_with_ledger(JournalMode::Wal) else {
        return;
    };
    cluster.replica_mut().stop();
    cluster.primary.stop();
    let mut files: Vec<_> = fs::read_dir(backing(&cluster.primary, "ltx"))
        .expect("the data directory is ours")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    change(&files[files.len() / 2], |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].fill(0xaa);
    });
    fs::remove_dir_all(&cluster.replica().settings().data).expect("nobody uses it");
    cluster.primary.start();
    cluster.replica_mut().start();
    goes_on(&cluster, &workload, &content, 530);
    cluster.stop();
}
