//! Who may not become the primary.

use std::fs;
use std::time::Duration;

use harness::history::Violation;
use harness::{Info, LeaseSettings, sqlite3, until_some};

use crate::trial::{Begin, DATABASE, SOON, Trial};

/// What a node says of why it does not take over, or follow.
#[track_caller]
fn refusal(trial: &Trial, node: usize, text: &str) -> Info {
    let node = &trial.fleet.nodes[node];
    until_some(SOON, &format!("a refusal: {text}"), || {
        let info = node.api().info()?;
        let refusal = info.lease.refusal.as_ref()?;
        (refusal.contains(text) && node.log().contains(text)).then_some(info)
    })
}

/// Removes what a node has, and lets it want to be the primary.
fn make_new(trial: &mut Trial, node: usize) {
    trial.stop_machine(node);
    let node = &mut trial.fleet.nodes[node];
    fs::remove_dir_all(&node.settings().data).expect("nobody uses it");
    if let LeaseSettings::Consul(lease) = &mut node.settings_mut().lease {
        lease.promote = true;
    }
}

/// It has no business to take over a cluster with data, until an operator says so.
#[test]
fn an_empty_node_never_takes_over_unless_forced() {
    let begin = Begin {
        nodes: 4,
        ..Begin::default()
    };
    let Some(mut trial) = Trial::with(begin) else {
        return;
    };
    let empty = trial.others(trial.primary())[2];
    make_new(&mut trial, empty);
    let primary = trial.primary();
    for node in trial
        .others(empty)
        .into_iter()
        .filter(|node| *node != primary)
    {
        trial.stop_machine(node);
    }
    trial.kill_machine(primary);
    trial.fleet.nodes[empty].launch();
    let info = refusal(&trial, empty, "this node is empty");
    assert!(!info.is_primary);
    trial.go_on_for(trial.begin.ttl * 2);
    assert_eq!(trial.fleet.primaries(), Vec::<usize>::new());
    let refused = trial.fleet.nodes[empty].command_line(&["promote"]);
    assert!(!refused.status.success(), "{}", refused.output);
    assert!(
        refused.output.contains("this node is empty"),
        "{}",
        refused.output
    );

    let forced = trial.fleet.nodes[empty].command_line(&["promote", "-force"]);
    assert!(forced.status.success(), "{}", forced.output);
    assert_eq!(trial.fleet.primary(), Some(empty));
    let database = trial.database(empty);
    sqlite3(&database, "CREATE TABLE anew(x)").expect("the primary takes it");
    // The others return: what they had is aside, and they have what the forced one has.
    trial.fleet.start_all();
    trial.fleet.await_settled(DATABASE);
    for node in &trial.fleet.nodes {
        let tables = sqlite3(&node.database(DATABASE), "SELECT name FROM sqlite_schema");
        assert_eq!(tables.as_deref(), Ok("anew"));
    }
    trial.fleet.stop_all();
}

/// With `promote`, a node that comes to a cluster waits until it has everything, and then is the primary.
#[test]
fn a_new_node_is_promoted_when_it_has_everything() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let new = trial.others(trial.primary())[0];
    make_new(&mut trial, new);
    trial.works(trial.primary());
    trial.start_machine(new);
    trial.works(new);
    assert_eq!(trial.primary(), new);
    trial.finish(true);
}

/// A replica that lacks what another acknowledged does not take over, though nobody else is there.
#[test]
fn a_node_that_is_behind_does_not_take_over() {
    let Some(mut trial) = Trial::start() else {
        return;
    };
    let primary = trial.primary();
    let [behind, ahead] = trial.others(primary)[..] else {
        unreachable!("there are three");
    };
    trial.fleet.network().cut(behind, primary);
    trial.fleet.network().cut(behind, ahead);
    // Published at most once a second, and with a renewal.
    trial.go_on_for(Duration::from_secs(2));
    trial.works(primary);
    trial.stop_machine(ahead);
    trial.kill_machine(primary);
    refusal(&trial, behind, "another node has acknowledged");
    trial.go_on_for(trial.begin.ttl * 2);
    assert_eq!(trial.fleet.primaries(), Vec::<usize>::new());
    trial.fleet.network().heal_all();
    trial.start_machine(ahead);
    trial.works(ahead);
    assert_eq!(trial.primary(), ahead);
    trial.start_machine(primary);
    trial.fleet.await_settled(DATABASE);
    trial.finish(false);
}

/// A node of another cluster is told so, and neither follows nor leads.
#[test]
fn a_node_of_another_cluster_is_refused() {
    let begin = Begin {
        nodes: 4,
        ..Begin::default()
    };
    let Some(mut trial) = Trial::with(begin) else {
        return;
    };
    let stranger = trial.others(trial.primary())[0];
    make_new(&mut trial, stranger);
    let own = trial.fleet.nodes[stranger].settings().lease.clone();
    let LeaseSettings::Consul(mut other) = own.clone() else {
        unreachable!("it has a Consul lease");
    };
    other.key = "litefs/another".to_owned();
    other.promote = false;
    trial.fleet.nodes[stranger].settings_mut().lease = LeaseSettings::Consul(other);
    trial.fleet.nodes[stranger].start();
    until_some(SOON, "it is the primary of its own cluster", || {
        trial.fleet.nodes[stranger]
            .api()
            .info()
            .filter(|info| info.is_primary)
    });
    sqlite3(&trial.database(stranger), "CREATE TABLE other(x)").expect("it is a primary");
    trial.fleet.nodes[stranger].stop();

    let before = trial.primary();
    trial.fleet.nodes[stranger].settings_mut().lease = own;
    trial.fleet.nodes[stranger].launch();
    let info = refusal(
        &trial,
        stranger,
        "cannot connect, this node belongs to cluster",
    );
    assert!(!info.is_primary);
    assert_eq!(trial.primary(), before);
    trial.kill_machine(before);
    let (after, _) = trial.fleet.await_other_primary(before, SOON);
    assert_ne!(after, stranger);
    trial.start_machine(before);
    trial.fleet.nodes[stranger].stop();
    let log = trial.fleet.nodes[stranger].log();
    assert!(!log.contains("following"), "{log}");
    // To be one of them it has to be new.
    fs::remove_dir_all(&trial.fleet.nodes[stranger].settings().data).expect("nobody uses it");
    if let LeaseSettings::Consul(lease) = &mut trial.fleet.nodes[stranger].settings_mut().lease {
        lease.promote = false;
    }
    trial.start_machine(stranger);
    // For a while it was the primary of another cluster, whose epochs are its own.
    let stranger = u32::try_from(stranger).expect("few nodes");
    trial.finish_but_for(false, |_, violation| match violation {
        Violation::TermsOverlap { one, other, .. } | Violation::SameEpoch { one, other, .. } => {
            [*one, *other].contains(&stranger)
        }
        _ => false,
    });
}
