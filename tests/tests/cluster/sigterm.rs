//! SIGTERM, whatever a node is at.

use std::time::{Duration, Instant};

use harness::until;

use crate::trial::{DATABASE, SOON, Trial};

/// From SIGTERM to the end of the process.
const BOUND: Duration = Duration::from_secs(15);

/// Ends well: exit code 0, no mount, no process; and soon.
#[track_caller]
fn stop(trial: &mut Trial, node: usize) {
    trial.finish_applications(node);
    let start = Instant::now();
    trial.fleet.nodes[node].stop();
    let took = start.elapsed();
    eprintln!("node{node} has ended after {took:?}");
    assert!(took < BOUND, "node{node} took {took:?}");
}

/// A primary hands over, or, the last of all, gives the lease up: the next one need not wait for a TTL.
#[test]
fn a_primary_that_is_stopped_hands_over() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let mut stopped = Vec::new();
    for _ in 0..trial.fleet.nodes.len() {
        let old = trial.primary();
        trial.works(old);
        stop(&mut trial, old);
        stopped.push(old);
        if stopped.len() < trial.fleet.nodes.len() {
            let (new, took) = trial.fleet.await_other_primary(old, trial.begin.ttl);
            eprintln!("node{new} took over {took:?} after node{old} had ended");
            trial.works(new);
        }
    }
    for node in stopped.into_iter().rev() {
        trial.start_machine(node);
    }
    trial.fleet.await_settled(DATABASE);
    trial.finish(true);
}

/// Without Consul: while looking for a cluster, and while the primary has just lost it.
#[test]
fn nodes_are_stopped_without_consul() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let primary = trial.primary();
    trial.works(primary);
    trial.fleet.consul.as_ref().expect("it has one").pause();
    stop(&mut trial, primary);
    let other = trial.others(primary)[0];
    stop(&mut trial, other);
    // Looks for a cluster.
    trial.fleet.nodes[other].launch();
    until(SOON, "it looks for a cluster", || {
        let info = trial.fleet.nodes[other].api().info();
        info.is_some_and(|info| info.lease.trouble.is_some())
    });
    stop(&mut trial, other);
    // Before it looks for anything.
    trial.fleet.nodes[other].launch();
    until(SOON, "it begins", || {
        trial.fleet.nodes[other].log().contains("config file read")
    });
    stop(&mut trial, other);
    trial.fleet.consul.as_ref().expect("it has one").resume();
    trial.start_machine(other);
    trial.start_machine(primary);
    trial.fleet.await_settled(DATABASE);
    trial.finish(false);
}

/// With a new worker that does not know yet what it is: it cannot ask.
#[test]
fn a_node_with_a_new_worker_is_stopped_without_consul() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let primary = trial.primary();
    for node in [trial.others(primary)[0], primary] {
        let consul = trial.fleet.consul_host();
        trial.fleet.network().cut(node, consul);
        let before = trial.fleet.nodes[node].worker();
        trial.fleet.nodes[node].kill_worker();
        until(SOON, "another worker goes on with the mount", || {
            let worker = trial.fleet.nodes[node].worker();
            let log = trial.fleet.nodes[node].log();
            worker.is_some_and(|now| Some(now) != before) && log.contains("going on with the mount")
        });
        stop(&mut trial, node);
        trial.fleet.network().heal_all();
    }
    for node in trial.others(trial.primary()) {
        trial.start_machine(node);
    }
    trial.finish(false);
}

/// In the middle of an election.
#[test]
fn candidates_are_stopped_in_an_election() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let primary = trial.primary();
    let others = trial.others(primary);
    trial.kill_machine(primary);
    let electing = |node: &usize| {
        let info = trial.fleet.nodes[*node].api().info();
        info.is_some_and(|info| ["electing", "rising"].contains(&info.lease.state.as_str()))
    };
    until(SOON, "an election", || others.iter().any(electing));
    for node in others.clone() {
        stop(&mut trial, node);
    }
    for node in others {
        trial.start_machine(node);
    }
    trial.start_machine(primary);
    trial.fleet.await_settled(DATABASE);
    trial.finish(false);
}
