//! Processes of the primary are stopped for longer than its lease, and go on.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::history::{Outcome, Violation, Write, now};
use harness::{until, until_some};
use nix::sys::signal::{Signal, kill};

use crate::trial::{DATABASE, SOON, Trial};

/// For an answer of a node that may be stopped.
const ANSWER: Duration = Duration::from_millis(100);

/// The acknowledged writes of a node that began after a moment.
fn acknowledged_after(writes: &[Write], moment: u64) -> Vec<&Write> {
    let writes = writes.iter();
    writes
        .filter(|write| write.outcome == Outcome::Acknowledged && write.before > moment)
        .collect()
}

/// The guard keeps applications from committing when the deadline has come, though the worker does nothing. Then it
/// starts another worker, which may be there before a candidate may act, and lead again.
#[test]
fn a_worker_that_stands_still_is_fenced_by_its_guard() {
    let Some(trial) = Trial::start() else { return };
    let old = trial.primary();
    let database = trial.database(old);
    let mut session = Session::open(trial.fleet.stage.tag(), &database, Access::ReadWrite);
    session.value("PRAGMA busy_timeout = 100; SELECT count(*) FROM history");
    let node = &trial.fleet.nodes[old];
    let worker = node.worker().expect("it runs");
    let epoch = node.api().info().and_then(|info| info.lease.epoch);
    let stopped = now();
    node.pause();
    let (new, epoch) = until_some(
        SOON,
        "a term after that of the worker that stands still",
        || {
            let led = |number: &usize| {
                // A worker that stands still does not answer.
                let info = trial.fleet.nodes[*number].api().info_within(ANSWER)?;
                let later = info.lease.epoch.filter(|now| Some(*now) > epoch)?;
                info.is_primary.then_some((*number, later))
            };
            (0..trial.fleet.nodes.len()).find_map(|number| led(&number))
        },
    );
    eprintln!("node{new} leads after node{old} stood still");
    // The guard may have killed it.
    let _ = kill(worker, Signal::SIGCONT);
    trial.works(new);
    trial.fleet.await_settled(DATABASE);
    session.value("SELECT count(*) FROM history");
    session.close();

    let ttl = u64::try_from(trial.begin.ttl.as_nanos()).expect("short");
    let history = trial.finish(false);
    let later = history.terms.iter().find(|term| term.epoch == Some(epoch));
    let from = later.expect("it was seen").possible.from;
    let late = acknowledged_after(&history.writes, stopped + ttl);
    let of_old = |write: &&Write| usize::try_from(write.id.node) == Ok(old);
    let late: Vec<_> = late
        .into_iter()
        .filter(of_old)
        .filter(|write| write.after < from)
        .collect();
    assert!(late.is_empty(), "after the deadline: {late:?}");
}

/// Nothing can keep applications from committing while the whole node stands still. What they commit goes aside.
#[test]
fn what_is_committed_while_the_whole_node_stands_still_is_aside() {
    let Some(trial) = Trial::start() else { return };
    let old = trial.primary();
    let from = now();
    trial.fleet.nodes[old].pause_all();
    let others = trial.others(old);
    let is_primary = |node: &usize| {
        let info = trial.fleet.nodes[*node].api().info_within(ANSWER * 10);
        info.is_some_and(|info| info.is_primary)
    };
    until(SOON, "another takes over", || others.iter().any(is_primary));
    let new = others.into_iter().find(is_primary).expect("it just was");
    trial.works(new);
    trial.fleet.nodes[old].resume_all();
    trial.fleet.await_settled(DATABASE);
    let to = now();
    assert_eq!(trial.primary(), new);
    let history = trial.finish_but_for(false, |history, violation| {
        let Violation::NotFenced { lost, .. } = violation else {
            return false;
        };
        let write = history.writes.iter().find(|write| write.id == *lost);
        usize::try_from(lost.node) == Ok(old)
            && write.is_some_and(|write| from < write.before && write.before < to)
    });
    let written = acknowledged_after(&history.writes, from);
    let written = written
        .iter()
        .filter(|write| usize::try_from(write.id.node) == Ok(old));
    eprintln!("{} writes while it stood still", written.count());
}
