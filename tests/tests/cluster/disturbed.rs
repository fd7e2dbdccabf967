//! The harness of cluster tests at work: nodes in hosts of a network, recorded, disturbed, and checked.

use std::path::Path;
use std::time::Duration;

use harness::history::{
    History, Observer, Outcome, Pace, Recorder, TABLE, Terms, Violation, asides, assert_right,
    check, finals,
};
use harness::{ConsulLease, Fleet, sqlite3, until};

const LIMIT: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(30);
const DATABASE: &str = "app";

/// Nodes with a static lease and the table of histories.
fn fleet(nodes: usize) -> Option<Fleet> {
    let fleet = Fleet::with_static_lease(LIMIT, nodes, 1)?;
    let sql = format!("PRAGMA journal_mode = wal; {TABLE}");
    sqlite3(&fleet.nodes[0].database(DATABASE), &sql).expect("the primary takes it");
    assert_eq!(fleet.await_settled(DATABASE), 0);
    Some(fleet)
}

fn recorder(fleet: &Fleet, pace: &Pace) -> Recorder {
    let node = usize::try_from(pace.node).expect("few nodes");
    let database = fleet.nodes[node].database(DATABASE);
    Recorder::start(fleet.stage.tag(), &database, pace)
}

/// The number of the next write after so many.
fn seq(writes: usize) -> u32 {
    u32::try_from(writes + 1).expect("few writes")
}

fn copy_tree(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(done.expect("cp runs").success());
}

/// The primary is killed and a replica is cut off for a while: nothing may be lost, and no replica takes a write.
#[test]
fn a_disturbed_cluster_has_a_history_that_is_right() {
    let Some(mut fleet) = fleet(3) else { return };
    let terms = Terms::watch(&fleet.nodes);
    let primary = recorder(&fleet, &Pace::new(0));
    let others = [1, 2].map(|node| recorder(&fleet, &Pace::new(node)));
    let database = fleet.nodes[1].database(DATABASE);
    let observer = Observer::start(fleet.stage.tag(), &database, &Pace::new(1));
    primary.await_acknowledged(50, SOON);

    fleet.network().cut(0, 1);
    primary.await_acknowledged(50, SOON);
    let txid = |node: usize| fleet.nodes[node].pos(DATABASE).map(|pos| pos.txid);
    let ahead = txid(0);
    until(SOON, "the other replica goes on", || txid(2) >= ahead);
    assert!(txid(1) < ahead, "nothing passes the cut");
    fleet.network().heal(0, 1);
    primary.await_acknowledged(20, SOON);

    let mut writes = primary.kill();
    fleet.nodes[0].kill_all();
    assert_eq!(fleet.primary(), None);
    fleet.start_all();
    let primary = recorder(&fleet, &Pace::new(0).from(seq(writes.len())));
    primary.await_acknowledged(50, SOON);

    fleet.nodes[0].pause_all();
    fleet.nodes[0].resume_all();
    primary.await_acknowledged(20, SOON);

    writes.extend(primary.finish());
    writes.extend(others.into_iter().flat_map(Recorder::finish));
    let mut history = History {
        writes,
        reads: observer.finish(),
        terms: terms.finish(),
        planned: true,
        ..History::default()
    };
    fleet.await_settled(DATABASE);
    history.finals = finals(&fleet.stage, &fleet.nodes, DATABASE);
    history.asides = asides(&fleet.stage, &fleet.nodes, DATABASE);
    assert_right(&history);
    let of = |node, outcome| {
        let writes = history.writes.iter();
        writes
            .filter(|write| write.id.node == node && write.outcome == outcome)
            .count()
    };
    assert!(of(0, Outcome::Acknowledged) > 150);
    for replica in [1, 2] {
        assert_eq!(of(replica, Outcome::Acknowledged), 0);
        assert!(of(replica, Outcome::Refused) > 10);
    }
    assert!(
        history
            .reads
            .iter()
            .filter(|read| read.result.is_ok())
            .count()
            > 50
    );
    let terms = &history.terms;
    assert!(
        !terms.is_empty() && terms.iter().all(|term| term.node == 0),
        "{terms:?}"
    );
    fleet.stop_all();
}

/// The primary comes back with older data, and goes on while the replica is away: what only that has goes aside, and the
/// check finds it there.
#[test]
fn what_goes_aside_is_found_and_would_be_missed() {
    let Some(mut fleet) = fleet(2) else { return };
    let first = recorder(&fleet, &Pace::new(0));
    first.await_acknowledged(20, SOON);
    let mut writes = first.finish();
    fleet.await_settled(DATABASE);
    let data = fleet.nodes[0].settings().data.clone();
    let earlier = fleet.stage.directory().join("earlier");
    copy_tree(&data, &earlier);

    let second = recorder(&fleet, &Pace::new(0).from(seq(writes.len())));
    second.await_acknowledged(20, SOON);
    writes.extend(second.finish());
    fleet.await_settled(DATABASE);
    fleet.nodes[1].stop();
    fleet.nodes[0].kill_all();
    std::fs::remove_dir_all(&data).expect("nobody uses it");
    std::fs::rename(&earlier, &data).expect("they are on one file system");

    fleet.nodes[0].start();
    let third = recorder(&fleet, &Pace::new(0).from(seq(writes.len())));
    third.await_acknowledged(20, SOON);
    writes.extend(third.finish());
    fleet.start_all();
    fleet.await_settled(DATABASE);
    let mut history = History {
        writes,
        finals: finals(&fleet.stage, &fleet.nodes, DATABASE),
        asides: asides(&fleet.stage, &fleet.nodes, DATABASE),
        ..History::default()
    };
    assert_right(&history);
    assert_eq!(history.asides.len(), 1);
    history.asides.clear();
    let vanished = check(&history);
    assert!(vanished.len() >= 20);
    assert!(
        vanished
            .iter()
            .all(|one| matches!(one, Violation::Vanished(_)))
    );
    fleet.stop_all();
}

/// Three nodes with a lease in Consul. The primary's machine dies; another node takes over, and the history is right.
#[test]
fn another_node_takes_over() {
    let lease = |url: &str| ConsulLease::new(url, "litefs/primary");
    let Some(mut fleet) = Fleet::with_consul(LIMIT, 3, 1, lease) else {
        return;
    };
    let old = fleet.await_primary(SOON);
    let sql = format!("PRAGMA journal_mode = wal; {TABLE}");
    sqlite3(&fleet.nodes[old].database(DATABASE), &sql).expect("the primary takes it");
    fleet.await_settled(DATABASE);
    let terms = Terms::watch(&fleet.nodes);
    let mut recorders: Vec<_> = (0..3)
        .map(|node| Some(recorder(&fleet, &Pace::new(node))))
        .collect();
    let at_work = |recorders: &[Option<Recorder>], node: usize| {
        let recorder = recorders[node].as_ref().expect("it was not ended");
        recorder.await_acknowledged(30, SOON);
    };
    at_work(&recorders, old);

    let mut writes = recorders[old]
        .take()
        .map(Recorder::kill)
        .unwrap_or_default();
    fleet.nodes[old].kill_all();
    let (new, took) = fleet.await_other_primary(old, SOON);
    eprintln!("node{new} took over after {took:?}");
    at_work(&recorders, new);
    fleet.start_all();
    at_work(&recorders, new);

    writes.extend(recorders.into_iter().flatten().flat_map(Recorder::finish));
    let mut history = History {
        writes,
        terms: terms.finish(),
        ..History::default()
    };
    fleet.await_settled(DATABASE);
    history.finals = finals(&fleet.stage, &fleet.nodes, DATABASE);
    history.asides = asides(&fleet.stage, &fleet.nodes, DATABASE);
    assert_right(&history);
    assert!(history.terms.len() >= 2, "{:?}", history.terms);
    fleet.stop_all();
}
