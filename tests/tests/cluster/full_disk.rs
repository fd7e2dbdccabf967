//! The disk of one node is full while the role changes.

use harness::Tmpfs;

use crate::trial::{Begin, DATABASE, SOON, Trial};

const DISK: u64 = 64 << 20;
/// Not enough for what is written during the test.
const SPARE: u64 = 16 << 10;

/// A trial in which the disk of node 0 is small, and it is the primary or not.
fn small(primary: bool) -> Option<(Trial, Tmpfs)> {
    let mut tmpfs = None;
    let trial = Trial::prepared(Begin::default(), |number, node| {
        if number == 0 {
            tmpfs = Some(Tmpfs::new(&node.settings().data, DISK));
        }
    })?;
    if (trial.primary() == 0) != primary {
        trial.promote(if primary { 0 } else { 1 });
    }
    Some((trial, tmpfs.expect("node 0 was prepared")))
}

/// It is asked to take over: it does, or it refuses.
#[test]
fn a_replica_with_a_full_disk_is_promoted() {
    let Some((trial, tmpfs)) = small(false) else {
        return;
    };
    let before = trial.primary();
    tmpfs.fill(SPARE);
    trial.works(before);
    let ended = trial.fleet.nodes[0].command_line(&["promote"]);
    eprintln!("{}", ended.output.trim());
    let after = trial.primary();
    eprintln!("the primary is node{after}");
    if !ended.status.success() && after != 0 {
        trial.works(after);
    }
    tmpfs.release();
    trial.fleet.await_settled(DATABASE);
    trial.finish(true);
}

/// The primary with a full disk hands over, or goes on being one; then its machine dies.
#[test]
fn a_primary_with_a_full_disk_hands_over_and_fails() {
    let Some((mut trial, tmpfs)) = small(true) else {
        return;
    };
    tmpfs.fill(SPARE);
    trial.go_on_for(trial.begin.ttl / 2);
    let ended = trial.fleet.nodes[1].command_line(&["promote"]);
    eprintln!("{}", ended.output.trim());
    let primary = trial.primary();
    eprintln!("the primary is node{primary}");
    if primary == 0 {
        trial.kill_machine(0);
        let (new, _) = trial.fleet.await_other_primary(0, SOON);
        trial.works(new);
        tmpfs.release();
        trial.start_machine(0);
    } else {
        trial.works(primary);
        tmpfs.release();
    }
    trial.fleet.await_settled(DATABASE);
    trial.finish(false);
}
