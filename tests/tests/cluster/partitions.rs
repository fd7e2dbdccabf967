//! Nodes that do not reach each other, or Consul.

use std::time::Duration;

use harness::network::Link;
use harness::until;

use crate::trial::{DATABASE, SOON, Trial, assert_only_primary};

/// The primary does not reach Consul: it steps down, and another takes over. Healed, it follows.
fn cut_off_the_primary(cut: impl Fn(&Trial, usize)) {
    let Some(trial) = Trial::start() else { return };
    let old = trial.primary();
    cut(&trial, old);
    let (new, took) = trial.fleet.await_other_primary(old, SOON);
    eprintln!("node{new} took over after {took:?}");
    trial.works(new);
    let node = &trial.fleet.nodes[old];
    let info = node.api().info().expect("it answers");
    assert!(!info.is_primary && info.lease.trouble.is_some(), "{info:?}");
    // An application that tries now is told at once, and why.
    let refused = trial.writes(old).pop().expect("it tries all the time");
    assert!(
        ["database is locked", "no answer"].contains(&refused.text.as_str()),
        "{refused:?}"
    );
    trial.fleet.network().heal_all();
    trial.fleet.await_settled(DATABASE);
    until(SOON, "its trouble is over", || {
        let info = trial.fleet.nodes[old].api().info();
        info.is_some_and(|info| info.lease.trouble.is_none())
    });
    assert_eq!(trial.primary(), new);
    trial.finish(false);
}

#[test]
fn a_primary_that_is_cut_from_consul_steps_down() {
    cut_off_the_primary(|trial, old| {
        let consul = trial.fleet.consul_host();
        trial.fleet.network().cut(old, consul);
    });
}

#[test]
fn a_primary_whose_requests_do_not_arrive_steps_down() {
    cut_off_the_primary(|trial, old| {
        let consul = trial.fleet.consul_host();
        trial.fleet.network().cut_one_way(old, consul);
    });
}

#[test]
fn a_primary_that_gets_no_answers_steps_down() {
    cut_off_the_primary(|trial, old| {
        let consul = trial.fleet.consul_host();
        trial.fleet.network().cut_one_way(consul, old);
    });
}

/// Who reaches Consul stays the primary, whoever does not reach it; and what a replica missed, it gets.
#[test]
fn a_primary_that_is_cut_from_its_replicas_stays() {
    let Some(trial) = Trial::start() else { return };
    let primary = trial.primary();
    for other in trial.others(primary) {
        trial.fleet.network().cut(primary, other);
    }
    trial.go_on_for(trial.begin.ttl * 2);
    trial.works(primary);
    let txid = |node: usize| trial.fleet.nodes[node].pos(DATABASE).map(|pos| pos.txid);
    for other in trial.others(primary) {
        assert!(txid(other) < txid(primary), "nothing passes the cut");
    }
    trial.fleet.network().heal_all();
    trial.fleet.await_settled(DATABASE);
    let history = trial.finish(true);
    assert_only_primary(&history, primary);
}

#[test]
fn a_replica_that_is_cut_from_all_catches_up() {
    let Some(trial) = Trial::start() else { return };
    let primary = trial.primary();
    let replica = trial.others(primary)[0];
    trial.fleet.network().isolate(replica);
    trial.go_on_for(trial.begin.ttl * 2);
    trial.works(primary);
    trial.fleet.network().heal_all();
    trial.fleet.await_settled(DATABASE);
    let history = trial.finish(true);
    assert_only_primary(&history, primary);
}

#[test]
fn a_slow_network_that_loses_packets_loses_no_writes() {
    let Some(trial) = Trial::start() else { return };
    trial.fleet.network().set_all(Link {
        latency: Duration::from_millis(50),
        loss: 0.01,
        ..Link::default()
    });
    trial.go_on_for(Duration::from_secs(10));
    let primary = trial.primary();
    trial.works(primary);
    trial.fleet.network().heal_all();
    trial.finish(false);
}
