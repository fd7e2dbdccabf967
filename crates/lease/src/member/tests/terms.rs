//! How terms begin and end.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Script, TTL, Table, database, until};
use crate::clock::Clock;
use crate::leaser::Holder;
use crate::member::{MemberConfig, Phase};
use crate::memory::{Leg, Op};

fn member_of_a(_: &mut MemberConfig, script: &mut Script) {
    script.holdings.cluster_id = Some("A".to_owned());
}

#[tokio::test(start_paused = true)]
async fn a_new_cluster_has_a_primary_at_once() {
    let table = Table::new();
    let began = tokio::time::Instant::now();
    let one = table.seat(1);
    until(|| one.leads()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let survey = table.store.survey();
    assert_eq!(survey.cluster_id.as_deref(), Some("cluster of 1"));
    assert_eq!(table.holder(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_another_node_takes_over_after_a_ttl_and_not_before() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.kill();
    let began = tokio::time::Instant::now();
    until(|| follower.leads()).await;
    let took = began.elapsed();
    assert!(
        took >= TTL * 3 / 4 && took <= TTL + Duration::from_secs(1),
        "{took:?}"
    );
    assert_eq!(table.holder(), Some((2, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_process_of_the_same_node_takes_over_at_once() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    primary.kill();
    let holdings = primary.node.script().holdings.clone();
    let began = tokio::time::Instant::now();
    let again = table.seat_with(1, |_, script| script.holdings = holdings);
    until(|| again.leads()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(table.holder(), Some((1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_primary_without_its_lease_store_is_fenced_by_its_deadline() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.network.cut(true);
    until(|| primary.node.has("fence")).await;
    let (fenced, deadline) = {
        let script = primary.node.script();
        (script.fenced_at.unwrap(), script.deadline.unwrap())
    };
    assert!(fenced <= deadline && deadline - fenced <= Duration::from_millis(201));
    assert!(!follower.leads());
    until(|| follower.leads()).await;
    primary.network.cut(false);
    until(|| primary.follows(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_is_none_the_less_one() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    for leg in [Leg::Answer, Leg::Request] {
        for _ in 0..3 {
            primary.network.lose(Op::Renew, leg);
            tokio::time::sleep(TTL / 2).await;
        }
    }
    assert_eq!(table.holder(), Some((1, 1)));
    assert!(primary.leads() && !primary.node.has("fence"));
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_is_lost_is_found_out() {
    let table = Table::new();
    let one = table.seat(1);
    one.network.lose(Op::Acquire, Leg::Answer);
    until(|| one.leads()).await;
    assert_eq!(table.holder(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_taken_unknowingly_is_taken_anew() {
    let table = Table::new();
    let one = table.seat(1);
    one.network.cut_with(Op::Acquire, Leg::Answer);
    until(|| table.holder().is_some()).await;
    assert_eq!(table.holder(), Some((1, 1)));
    tokio::time::sleep(TTL).await;
    assert!(!one.leads());
    one.network.cut(false);
    until(|| one.leads()).await;
    let (_, epoch) = table.holder().unwrap();
    assert!(epoch > 1, "{epoch}");
    assert!(!one.node.has("lead 1"));
}

#[tokio::test(start_paused = true)]
async fn whatever_a_stranger_does_to_the_record_is_a_loss() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    table
        .store
        .intrude(Some(r#"{"hostname":"h","advertise-url":"http://h:1"}"#));
    until(|| primary.node.has("fence")).await;
    let waits = |phase: Phase| matches!(phase, Phase::Waiting { why } if why.contains("LiteFS"));
    until(|| waits(primary.phase()) && waits(follower.phase())).await;
    tokio::time::sleep(TTL * 3).await;
    assert!(!primary.leads() && !follower.leads());
    assert!(primary.refusal().contains("a node of LiteFS (hostname h)"));
    table.store.intrude(None);
    until(|| primary.leads() && follower.follows(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_is_a_loss() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    let session = primary.lease.known_session().unwrap();
    table.store.end_session(&session);
    until(|| primary.node.has("fence")).await;
    // Its own term was the last one: it need not wait for a TTL.
    let began = tokio::time::Instant::now();
    until(|| primary.leads()).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(table.holder(), Some((1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_emptied_is_taken_again_by_the_primary() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    table.store.wipe();
    let began = tokio::time::Instant::now();
    until(|| primary.leads() && table.holder().is_some()).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(table.holder(), Some((1, 1_700_000_000)));
    assert_eq!(
        table.store.survey().cluster_id.as_deref(),
        Some("cluster of 1")
    );
    until(|| follower.follows(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_lead_gives_the_lease_up() {
    let table = Table::new();
    let one = table.seat_with(1, |_, script| {
        script.lead = Err("the disk is full".to_owned())
    });
    until(|| one.refusal().contains("the disk is full")).await;
    assert!(one.node.has("fence"));
    assert_eq!(table.holder(), None);
    let two = table.seat_with(2, member_of_a);
    drop(two);
    one.node.script().lead = Ok(Duration::ZERO);
    until(|| one.leads()).await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_while_the_node_becomes_the_primary() {
    let table = Table::new();
    let slow = TTL * 2;
    let one = table.seat_with(1, |_, script| script.lead = Ok(slow));
    until(|| one.phase() == Phase::Rising { epoch: 1 }).await;
    let refused = one.handle.handoff(None).await.unwrap_err();
    assert!(refused.contains("is becoming the primary"), "{refused}");
    until(|| one.leads()).await;
    assert_eq!(table.holder(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_the_lease_on_the_way_does_not_lead() {
    let table = Table::new();
    let one = table.seat_with(1, |_, script| script.lead = Ok(TTL * 3));
    until(|| one.node.has("lead 1")).await;
    one.network.cut(true);
    until(|| one.node.has("fence")).await;
    tokio::time::sleep(TTL * 4).await;
    assert!(!one.node.commits() && !one.leads());
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_hands_over() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    let node = primary.node.clone();
    primary.stop().await;
    assert!(node.has("freeze") && node.has("fence"));
    assert!(!table.has_post(1));
    until(|| follower.leads()).await;
    assert!(follower.node.has("lead as the heir"));
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_without_an_heir_gives_the_lease_up() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.node.script().heir = Err("nobody".to_owned());
    primary.stop().await;
    assert_eq!(table.holder(), None);
    assert!(table.store.survey().last_epoch.unwrap().released);
    let began = tokio::time::Instant::now();
    until(|| follower.leads()).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let node = follower.node.clone();
    follower.stop().await;
    assert!(node.has("fence"));
    assert!(table.store.survey().posts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_without_the_lease_store_stops_all_the_same() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.network.cut(true);
    follower.network.cut(true);
    let node = primary.node.clone();
    primary.stop().await;
    follower.stop().await;
    assert!(node.has("fence"));
    let lost = table.seat(3);
    lost.network.cut(true);
    lost.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_demoted_waits_even_if_there_is_nobody_else() {
    let table = Table::new();
    let one = table.seat(1);
    until(|| one.leads()).await;
    assert_eq!(one.handle.demote().await, Ok(()));
    let began = tokio::time::Instant::now();
    assert!(!one.node.commits());
    assert!(table.store.survey().last_epoch.unwrap().released);
    until(|| one.refusal().contains("was demoted")).await;
    until(|| one.leads()).await;
    assert!(began.elapsed() >= Duration::from_secs(10));
    let (_, epoch) = table.holder().unwrap();
    assert_eq!(epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_behind_waits_until_it_is_forced() {
    let table = Table::new();
    let primary = table.seat_with(1, |_, script| {
        script.acknowledged = database("app.db", 10);
        script.holdings.positions = database("app.db", 10);
    });
    until(|| table.store.survey().positions == database("app.db", 10)).await;
    let behind = table.seat_with(2, |_, script| {
        script.holdings.positions = database("app.db", 9)
    });
    until(|| behind.follows(1)).await;
    primary.kill();
    tokio::time::sleep(TTL * 3).await;
    assert!(!behind.leads());
    assert!(
        behind
            .refusal()
            .contains("another node has acknowledged 10")
    );
    assert_eq!(behind.handle.promote_by_force().await, Ok(()));
    assert!(behind.handle.status().borrow().forced);
    until(|| behind.leads()).await;
    assert!(!behind.handle.status().borrow().forced && behind.refusal().is_empty());
    let refused = behind.handle.promote_by_force().await;
    assert_eq!(refused, Err("this node is the primary already".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_is_refused() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    let stranger = table.seat_with(2, member_of_a);
    let text =
        "cannot connect, this node belongs to cluster A, the lease is of cluster cluster of 1";
    until(|| stranger.refusal().starts_with(text)).await;
    primary.kill();
    tokio::time::sleep(TTL * 4).await;
    assert!(!stranger.leads());
    assert!(
        !stranger
            .node
            .script()
            .calls
            .iter()
            .any(|call| call.starts_with("follow"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_primary_of_a_lower_epoch_is_not_followed() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    let wise = table.seat_with(2, |_, script| {
        script.holdings.cluster_id = Some("cluster of 1".to_owned());
        script.holdings.seen_epoch = 9;
        script.holdings.epoch = 1;
    });
    until(|| wise.refusal().contains("its epoch 1 is lower than 9")).await;
    primary.kill();
    until(|| wise.leads()).await;
    assert_eq!(table.holder(), Some((2, 1_700_000_000)));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_follow_says_why_and_tries_again() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    let two = table.seat_with(2, |_, script| script.follow = Some("no space".to_owned()));
    until(|| two.refusal().contains("no space")).await;
    until(|| two.follows(1)).await;
    assert!(two.refusal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_more_goes_first() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    let two = table.seat_with(2, |_, script| script.holdings.positions = database("a", 5));
    let three = table.seat_with(3, |_, script| script.holdings.positions = database("a", 6));
    until(|| two.follows(1) && three.follows(1)).await;
    primary.kill();
    until(|| two.leads() || three.leads()).await;
    assert!(three.leads());
    until(|| two.follows(3)).await;
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_lead_asks_for_it_once() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    let eager = table.seat_with(2, |config, script| {
        config.promote = true;
        script.ask = Err("a writer holds its lock".to_owned());
    });
    until(|| eager.refusal().contains("a writer holds its lock")).await;
    eager.node.script().ask = Ok(());
    tokio::time::sleep(TTL).await;
    eager.node.script().calls.clear();
    tokio::time::sleep(TTL).await;
    assert!(!eager.node.has("ask 1"));
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_published_and_does_not_become_less() {
    let table = Table::new();
    let primary = table.seat_with(1, |_, script| script.acknowledged = database("a", 5));
    until(|| table.store.survey().positions == database("a", 5)).await;
    primary.node.script().acknowledged = database("a", 0);
    tokio::time::sleep(TTL).await;
    assert_eq!(table.store.survey().positions, database("a", 5));
    primary.node.script().acknowledged = database("a", 7);
    until(|| table.store.survey().positions == database("a", 7)).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_start_of_the_machine_is_waited_for() {
    let table = Table::new();
    let primary = table.seat(1);
    until(|| primary.leads()).await;
    primary.kill();
    let Holder::Node(mut record, session) = table.store.survey().seen.holder else {
        panic!("nobody holds it");
    };
    // As if the machine had been started anew.
    record.boot_id = "before".to_owned();
    let known = table.store.survey().seen.version;
    let lease: Arc<dyn crate::Leaser> = Arc::new(primary.lease.clone());
    primary.lease.set_hook(None);
    record.n += 1;
    lease.renew(known, &record).await.unwrap();
    assert!(session.is_some());
    let began = table.clock.now();
    let holdings = primary.node.script().holdings.clone();
    let again = table.seat_with(1, |_, script| script.holdings = holdings);
    until(|| again.leads()).await;
    assert!(table.clock.now() - began >= TTL - Duration::from_millis(10));
    assert!(
        !again
            .node
            .script()
            .calls
            .iter()
            .any(|call| call.starts_with("follow"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_static_primary_leads_for_ever_and_hands_over_to_nobody() {
    let table = Table::new();
    let lease = crate::StaticLease::new(true, None, None).unwrap();
    let one = table.seat_on(1, Arc::new(lease), |_, script| {
        script.holdings.seen_epoch = 4
    });
    let leads = |phase| {
        matches!(
            phase,
            Phase::Primary {
                epoch: 5,
                deadline: None
            }
        )
    };
    until(|| leads(one.phase())).await;
    tokio::time::sleep(TTL * 3).await;
    let text = "static lease does not support handoff";
    assert_eq!(one.handle.handoff(None).await, Err(text.to_owned()));
    assert_eq!(one.handle.demote().await, Err(text.to_owned()));
    assert!(one.node.commits());
    let node = one.node.clone();
    one.stop().await;
    assert!(!node.commits() && node.has("fence"));
}

#[tokio::test(start_paused = true)]
async fn a_static_replica_follows_for_ever() {
    let table = Table::new();
    let url = Some("http://host1:1");
    let lease = crate::StaticLease::new(false, None, url).unwrap();
    let two = table.seat_on(2, Arc::new(lease), |_, script| {
        script.holdings.seen_epoch = 4
    });
    let follows = |phase: Phase| matches!(phase, Phase::Follower { primary } if primary.advertise_url == "http://host1:1");
    until(|| follows(two.phase())).await;
    tokio::time::sleep(TTL * 3).await;
    assert!(follows(two.phase()) && two.refusal().is_empty());
    let refused = two.handle.handoff(None).await;
    assert_eq!(refused, Err("this node is not the primary".to_owned()));
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_published_without_an_answer_does_not_become_less() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    primary.network.lose(Op::Publish, Leg::Answer);
    primary.node.script().acknowledged = database("a", 9);
    until(|| table.store.survey().positions == database("a", 9)).await;
    // Whoever acknowledged it has gone.
    primary.node.script().acknowledged = database("a", 4);
    tokio::time::sleep(TTL).await;
    assert_eq!(table.store.survey().positions, database("a", 9));
}
