//! The files of the mount that are no files: `X-pos`, `.primary`, `.lag`, and the order of the listing.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{
    Cluster, Node, PlainDirectory, Pos, assert_agreement, await_same_position, sqlite3, until,
};
use nix::sys::statvfs::statvfs;

const LIMIT: Duration = Duration::from_secs(90);
const ARRIVED: Duration = Duration::from_secs(20);

fn pair_with_ledger() -> Option<(Cluster, Workload)> {
    let cluster = Cluster::pair(LIMIT)?;
    let workload = Workload::new(JournalMode::Wal, 4096, 111).transactions(15);
    workload.run(cluster.stage.tag(), &cluster.primary.database("app"));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    Some((cluster, workload))
}

/// LiteFS's own tests have this position after `CREATE TABLE t (x)`. Its SQLite was 3.39.2, which the header says.
#[test]
fn a_position_is_the_one_that_litefs_computes() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let outside = PlainDirectory::new(&cluster.stage, "outside").database("db");
    sqlite3(&outside, "CREATE TABLE t (x)").expect("create a table");
    let mut bytes = fs::read(&outside).expect("the database is there");
    bytes[96..100].copy_from_slice(&3_039_002_u32.to_be_bytes());
    cluster.primary.api().import("db", bytes).expect("import");
    await_same_position(&cluster.primary, cluster.replica(), "db");
    let text = fs::read_to_string(cluster.replica().database("db-pos")).expect("read");
    assert_eq!(text, "0000000000000001/f630f5ae3060002c\n");
}

#[test]
fn a_held_descriptor_of_the_position_shows_updates() {
    let Some((cluster, workload)) = pair_with_ledger() else {
        return;
    };
    for node in [&cluster.primary, cluster.replica()] {
        assert_eq!(
            fs::metadata(node.database("app-pos"))
                .expect("it has attributes")
                .len(),
            34
        );
    }
    let held = [&cluster.primary, cluster.replica()]
        .map(|node| File::open(node.database("app-pos")).expect("open"));
    let read = |file: &File| {
        let mut bytes = [0; 64];
        let length = file.read_at(&mut bytes, 0).expect("read");
        assert_eq!(length, 34, "34 bytes and then the end");
        Pos::parse(std::str::from_utf8(&bytes[..34]).expect("text")).expect("a position")
    };
    let before = read(&held[0]);
    assert_eq!(read(&held[1]), before);
    let outcome = workload
        .more(112)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    // Reading the position counts everything that was committed before.
    assert_eq!(read(&held[0]).txid, before.txid + outcome.commits);
    until(
        ARRIVED,
        "the held descriptor on the replica shows the same",
        || read(&held[1]) == read(&held[0]),
    );
}

#[test]
fn every_commit_shows_in_the_position_at_once() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    for mode in JournalMode::ALL {
        let name = mode.to_string();
        let mut session = Session::open(
            cluster.stage.tag(),
            &cluster.primary.database(&name),
            Access::Create,
        );
        session.rows(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(x)"));
        let first = cluster
            .primary
            .pos(&name)
            .expect("the database is there")
            .txid;
        for number in 1..=20 {
            session.rows("INSERT INTO t VALUES (randomblob(50))");
            assert_eq!(
                cluster.primary.pos(&name).map(|pos| pos.txid),
                Some(first + number),
                "in {mode} mode"
            );
        }
    }
}

#[test]
fn primary_file_names_the_primary_on_the_replica_only() {
    let Some((mut cluster, _)) = pair_with_ledger() else {
        return;
    };
    let file = cluster.replica().mount().join(".primary");
    assert_eq!(
        fs::read_to_string(&file).expect("a replica has it"),
        "primary.test\n"
    );
    assert!(
        !cluster.primary.mount().join(".primary").exists(),
        "the primary has none"
    );
    cluster.primary.stop();
    until(
        ARRIVED,
        "it goes while the replica has no connection",
        || !file.exists(),
    );
    cluster.primary.start();
    until(ARRIVED, "it comes back", || {
        fs::read_to_string(&file).is_ok_and(|text| text == "primary.test\n")
    });
}

#[test]
fn lag_has_the_form_of_litefs() {
    let Some((cluster, _)) = pair_with_ledger() else {
        return;
    };
    let lag = cluster.primary.mount().join(".lag");
    assert_eq!(fs::read_to_string(&lag).expect("read"), "+000000000\n");
    let metadata = fs::metadata(&lag).expect("attributes");
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (11, 0o444));
    let text = fs::read_to_string(cluster.replica().mount().join(".lag")).expect("read");
    let milliseconds: i64 = text.trim_end().parse().expect("a signed number");
    assert_eq!(text.len(), 11, "{text:?}");
    assert!(
        (0..60_000).contains(&milliseconds),
        "a connected replica is hardly behind: {text:?}"
    );
}

/// As `df` shows it.
#[test]
fn the_space_is_that_of_the_data_directory() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    for node in [&cluster.primary, cluster.replica()] {
        let total = |path| {
            let space = statvfs(path).expect("the file system answers");
            space.blocks() * space.fragment_size()
        };
        let data = total(node.settings().data.as_path());
        assert!(data > 0);
        assert_eq!(total(node.mount()), data);
    }
}

fn listing(node: &Node) -> Vec<String> {
    // Python's listing is in the order of the directory, as Rust's is.
    let entries = fs::read_dir(node.mount()).expect("the mount can be listed");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn the_listing_has_the_order_of_litefs() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag();
    let mut wal = Session::open(tag, &cluster.primary.database("b"), Access::Create);
    wal.rows("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    let mut persist = Session::open(tag, &cluster.primary.database("a"), Access::Create);
    persist.rows("PRAGMA journal_mode = persist; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    sqlite3(&cluster.primary.database("c"), "CREATE TABLE t(x)").expect("create a table");
    let expected = [
        "a",
        "a-pos",
        "a-journal",
        "b",
        "b-pos",
        "b-shm",
        "b-wal",
        "c",
        "c-pos",
    ];
    let mut primary = vec![".lag"];
    primary.extend(expected);
    assert_eq!(listing(&cluster.primary), primary);

    await_same_position(&cluster.primary, cluster.replica(), "c");
    let shown = listing(cluster.replica());
    assert_eq!(shown[..2], [".lag", ".primary"]);
    let databases: Vec<_> = shown
        .iter()
        .filter(|name| name.len() == 1 || name.ends_with("-pos"))
        .collect();
    assert_eq!(databases, ["a", "a-pos", "b", "b-pos", "c", "c-pos"]);
    drop((wal, persist));
}

/// What others may not be tempted to write to.
#[test]
fn synthetic_files_cannot_be_written_or_deleted() {
    let Some((cluster, workload)) = pair_with_ledger() else {
        return;
    };
    let primary = &cluster.primary;
    for name in ["app-pos", ".lag", ".primary", "nosuch-pos", "app-lock"] {
        let path = primary.database(name);
        assert!(fs::write(&path, "rubbish").is_err(), "write {name}");
        assert!(fs::remove_file(&path).is_err(), "delete {name}");
    }
    assert!(fs::create_dir(primary.database("directory")).is_err());
    assert!(fs::rename(primary.database("app"), primary.database("moved")).is_err());
    // A refused CREATE must not have taught the kernel that there is no such request.
    workload
        .more(113)
        .run(cluster.stage.tag(), &primary.database("app"));
    sqlite3(&primary.database("another"), "CREATE TABLE t(x)").expect("a new database can be made");
    assert_agreement(&cluster, "app");
    assert_agreement(&cluster, "another");
}
