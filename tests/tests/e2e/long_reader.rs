//! A reader in a long transaction on a WAL replica keeps its snapshot and delays nothing.

use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::{JournalMode, Synchronous};
use harness::{Cluster, assert_agreement, await_same_position};

const LIMIT: Duration = Duration::from_secs(90);
const TICK: &str = "SELECT value FROM tick WHERE id = 64";

fn keeps_its_snapshot(passthrough: bool, synchronous: Synchronous) {
    let Some(cluster) = Cluster::start(LIMIT, 1, |node| {
        node.settings_mut().passthrough = passthrough
    }) else {
        return;
    };
    let (tag, database) = (cluster.stage.tag(), cluster.primary.database("app"));
    let workload = Workload::new(JournalMode::Wal, 4096, 11)
        .transactions(60)
        .synchronous(synchronous);
    workload.run(tag, &database);
    await_same_position(&cluster.primary, cluster.replica(), "app");

    let there = cluster.replica().database("app");
    let mut long = Session::open(tag, &there, Access::ReadWrite);
    let mut short = Session::open(tag, &there, Access::ReadOnly);
    let before = long.value(&format!("BEGIN; {TICK}"));
    let items = "SELECT sum(digest) FROM item";
    let sum = long.value(items);
    let mut seen = before.clone();
    for round in 0..3 {
        workload.clone().more(100 + round).run(tag, &database);
        await_same_position(&cluster.primary, cluster.replica(), "app");
        let now = short.value(TICK);
        assert_ne!(now, seen, "another reader sees the new transactions");
        assert_eq!(
            long.value(TICK),
            before,
            "the long reader sees its own snapshot"
        );
        assert_eq!(
            long.value(items),
            sum,
            "the long reader sees its own snapshot"
        );
        assert_eq!(long.value("PRAGMA quick_check"), "ok");
        seen = now;
    }
    long.rows("COMMIT");
    assert_eq!(long.value(TICK), seen, "after its end it sees the present");
    assert_agreement(&cluster, "app");
}

#[test]
fn keeps_its_snapshot_and_delays_nothing() {
    keeps_its_snapshot(true, Synchronous::Normal);
}

#[test]
fn keeps_its_snapshot_with_cached_files() {
    keeps_its_snapshot(false, Synchronous::Full);
}
