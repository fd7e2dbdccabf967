//! The machine of the primary dies.

use std::time::Duration;

use harness::{litefs, sqlite3};

use crate::trial::{DATABASE, Trial};

/// A candidate needs no more than this beyond the TTL.
const ELECTION: Duration = Duration::from_secs(1);

/// The machine of the primary dies, and another node takes its place in time: which.
#[track_caller]
fn replace(trial: &mut Trial, old: usize) -> usize {
    trial.kill_machine(old);
    let (new, took) = trial
        .fleet
        .await_other_primary(old, trial.begin.ttl + ELECTION);
    eprintln!("node{new} took over after {took:?}");
    trial.works(new);
    new
}

/// Nobody has its last writes: they are aside when it returns, and it follows.
#[test]
fn a_primary_that_dies_is_replaced_and_returns_as_a_replica() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let old = trial.primary();
    for other in trial.others(old) {
        trial.fleet.network().cut(old, other);
    }
    trial.works(old);
    let new = replace(&mut trial, old);
    trial.fleet.network().heal_all();
    trial.start_machine(old);
    trial.fleet.await_settled(DATABASE);
    assert_eq!(trial.primary(), new);
    trial.works(new);

    let node = &trial.fleet.nodes[old];
    let unreplicated = node.api().info().and_then(|info| info.unreplicated);
    assert!(unreplicated > Some(0), "{unreplicated:?}");
    let data = node.settings().data.display().to_string();
    let list = litefs(&["aside", "list", "-data", &data]);
    assert!(list.output.contains(DATABASE), "{}", list.output);
    let count = "SELECT count(*) FROM history";
    sqlite3(&trial.database(old), count).expect("it serves as a replica");

    // What the old primary alone had is aside, and only there.
    let history = trial.finish(false);
    let last = &history.finals[0].rows;
    let of_old = |id: &&harness::history::WriteId| usize::try_from(id.node) == Ok(old);
    let rows = history.asides.iter().flat_map(|aside| &aside.rows);
    let lost = rows.filter(of_old).filter(|id| !last.contains(id)).count();
    assert!(lost >= 20, "{lost} writes are aside");
}

/// The same without a partition, twice: what was replicated is there.
#[test]
fn one_primary_after_the_other_dies() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    for _ in 0..2 {
        let old = trial.primary();
        trial.works(old);
        replace(&mut trial, old);
        trial.start_machine(old);
        trial.fleet.await_settled(DATABASE);
    }
    trial.finish(false);
}
