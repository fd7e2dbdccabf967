//! Consul is away, and comes back as it was, or with nothing.

use std::time::Duration;

use crate::trial::{DATABASE, SOON, Trial};

fn disturb(disturb: impl Fn(&mut Trial)) {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    disturb(&mut trial);
    let primary = trial.fleet.await_primary(SOON);
    trial.works(primary);
    trial.fleet.await_settled(DATABASE);
    trial.finish(true);
}

fn consul(trial: &mut Trial) -> &mut harness::Consul {
    trial.fleet.consul.as_mut().expect("it has one")
}

#[test]
fn consul_stands_still_for_a_while() {
    disturb(|trial| {
        consul(trial).pause();
        trial.go_on_for(Duration::from_secs(5));
        assert_eq!(trial.fleet.primaries(), Vec::<usize>::new());
        consul(trial).resume();
    });
}

#[test]
fn consul_is_killed_and_comes_back_with_nothing() {
    disturb(|trial| {
        consul(trial).kill();
        consul(trial).wipe();
        consul(trial).restart();
    });
}

#[test]
fn consul_is_killed_and_comes_back_with_its_data() {
    disturb(|trial| {
        consul(trial).kill();
        consul(trial).restart();
    });
}
