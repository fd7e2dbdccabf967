//! A replica that comes when much has happened already.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Session, Watch, Workload};
use harness::ledger::JournalMode;
use harness::{Cluster, Node, Stage, assert_agreement, await_same_position, until};

const LIMIT: Duration = Duration::from_secs(120);
const RETENTION: Duration = Duration::from_secs(30);

/// A primary alone, with `commits` commits of one row and a ledger beside it.
fn primary_with_history(commits: u32, configure: impl FnOnce(&mut Node)) -> Option<(Stage, Node)> {
    let stage = Stage::with_mounts(LIMIT)?;
    let mut primary = Node::primary(&stage, "primary");
    configure(&mut primary);
    primary.start();
    let mut session = Session::open(stage.tag(), &primary.database("rows"), Access::Create);
    session.rows("PRAGMA journal_mode = wal; PRAGMA synchronous = normal; CREATE TABLE row(id INTEGER PRIMARY KEY, x)");
    let insert = "INSERT INTO row(x) VALUES (randomblob(100));";
    for _ in 0..commits / 100 {
        session.rows(&insert.repeat(100));
    }
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let database = primary.database(&mode.to_string());
        Workload::new(mode, 4096, 21)
            .transactions(60)
            .run(stage.tag(), &database);
    }
    Some((stage, primary))
}

/// Starts a replica under load; its readers must never see anything but a good ledger.
fn joins(stage: Stage, primary: Node) {
    let mut replica = Node::replica(&stage, "replica1", &primary);
    let workloads = [JournalMode::Delete, JournalMode::Wal].map(|mode| {
        let workload = Workload::new(mode, 4096, 21).transactions(60).more(22);
        workload.start(stage.tag(), &primary.database(&mode.to_string()))
    });
    replica.start();
    let watches = ["delete", "wal"]
        .map(|name| Watch::start(stage.tag(), &replica.database(name), Access::ReadWrite));
    workloads
        .into_iter()
        .for_each(|workload| drop(workload.succeed()));
    let mut cluster = Cluster {
        primary,
        replicas: vec![replica],
        stage,
    };
    for name in ["rows", "delete", "wal"] {
        assert_agreement(&cluster, name);
    }
    watches.into_iter().for_each(|watch| drop(watch.succeed()));
    cluster.stop();
}

#[test]
fn after_thousands_of_commits() {
    let Some((stage, primary)) = primary_with_history(3000, |_| {}) else {
        return;
    };
    let pos = primary.pos("rows").expect("the database is there");
    assert!(pos.txid >= 3000, "one TXID per commit: {pos}");
    joins(stage, primary);
}

fn keep_little(node: &mut Node) {
    node.settings_mut().retention = Some("300ms".to_owned());
    node.settings_mut().retention_monitor_interval = Some("100ms".to_owned());
}

/// Waits until the log of a database no longer has the transactions up to `txid`.
#[track_caller]
fn await_cut(node: &Node, name: &str, txid: u64) {
    let log = node.settings().data.join("dbs").join(name).join("ltx");
    let what = format!("transactions up to {txid} are no longer in the log of {name}");
    until(RETENTION, &what, || {
        let files = fs::read_dir(&log).expect("the log is a directory");
        // A name is the first and the last TXID of the file.
        let mut firsts = files.filter_map(Result::ok).filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            u64::from_str_radix(name.split('-').next()?, 16).ok()
        });
        firsts.all(|first| first > txid)
    });
}

#[test]
fn after_the_log_was_cut() {
    let configured = primary_with_history(500, keep_little);
    let Some((stage, primary)) = configured else {
        return;
    };
    for name in ["rows", "delete", "wal"] {
        await_cut(&primary, name, 1);
    }
    joins(stage, primary);
}

/// It was there before; what it missed is gone from the log of the primary.
#[test]
fn again_after_the_log_was_cut() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let Some(mut cluster) = Cluster::start(LIMIT, 1, keep_little) else {
            return;
        };
        let (tag, database) = (
            cluster.stage.tag().to_owned(),
            cluster.primary.database("app"),
        );
        let workload = Workload::new(mode, 4096, 23).transactions(15);
        workload.run(&tag, &database);
        let left = await_same_position(&cluster.primary, cluster.replica(), "app");
        cluster.replica_mut().stop();
        workload.clone().more(24).run(&tag, &database);
        workload.clone().more(25).run(&tag, &database);
        await_cut(&cluster.primary, "app", left.txid + 1);
        cluster.replica_mut().start();
        assert_agreement(&cluster, "app");
        workload.more(26).run(&tag, &database);
        assert_agreement(&cluster, "app");
        cluster.stop();
    }
}
