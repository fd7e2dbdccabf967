//! Processes of the primary are stopped for longer than its lease, and go on.

use harness::client::{Access, Session};
use harness::history::{Outcome, Violation, Write, now};
use harness::until;
use nix::sys::signal::{Signal, kill};

use crate::trial::{DATABASE, SOON, Trial};

/// The acknowledged writes of a node that began after a moment.
fn acknowledged_after(writes: &[Write], moment: u64) -> Vec<&Write> {
    let writes = writes.iter();
    writes
        .filter(|write| write.outcome == Outcome::Acknowledged && write.before > moment)
        .collect()
}

/// The guard keeps applications from committing when the deadline has come, though the worker does nothing.
#[test]
fn a_worker_that_stands_still_is_fenced_by_its_guard() {
    let Some(trial) = Trial::start() else { return };
    let old = trial.primary();
    let database = trial.database(old);
    let mut session = Session::open(trial.fleet.stage.tag(), &database, Access::ReadWrite);
    session.rows("PRAGMA busy_timeout = 100; CREATE TABLE other(x)");
    let node = &trial.fleet.nodes[old];
    let worker = node.worker().expect("it runs");
    let stopped = now();
    node.pause();
    let (new, _) = trial.fleet.await_other_primary(old, SOON);
    trial.works(new);
    session.error("INSERT INTO other VALUES (1)");
    let ttl = u64::try_from(trial.begin.ttl.as_nanos()).expect("short");
    let late = trial.writes(old);
    let late = acknowledged_after(&late, stopped + ttl);
    assert!(late.is_empty(), "after the deadline: {late:?}");

    // The guard may have killed it, and started another.
    let _ = kill(worker, Signal::SIGCONT);
    trial.fleet.await_settled(DATABASE);
    assert_eq!(trial.primary(), new);
    let refused = session.error("INSERT INTO other VALUES (1)");
    assert!(
        refused.text.contains("locked") || refused.code == 10,
        "{refused:?}"
    );
    session.close();
    trial.finish(false);
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
        let info = trial.fleet.nodes[*node].api().info();
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
