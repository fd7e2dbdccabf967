//! Each step of a planned handoff, and each of them failing.

use std::time::Duration;

use super::fake::{TTL, Table, until};
use crate::memory::{Leg, Op};

#[tokio::test(start_paused = true)]
async fn the_lease_goes_to_the_heir_and_the_old_primary_follows() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    assert_eq!(primary.handle.handoff(None).await, Ok(()));
    assert!(!primary.node.commits());
    until(|| follower.leads() && primary.follows(2)).await;
    assert_eq!(table.holder(), Some((2, 2)));
    assert!(follower.node.has("lead as the heir") && follower.node.has("lead 2"));
    assert!(primary.node.has("freeze") && primary.node.has("fence"));
    assert!(!primary.node.has("thaw"));
}

#[tokio::test(start_paused = true)]
async fn only_a_primary_hands_over() {
    let table = Table::new();
    let (_primary, follower) = table.couple().await;
    let refused = follower.handle.handoff(Some(1)).await;
    assert_eq!(refused, Err("this node is not the primary".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn without_an_heir_nothing_is_frozen() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    primary.node.script().heir = Err("nobody is close enough".to_owned());
    let refused = primary.handle.handoff(None).await;
    assert_eq!(refused, Err("nobody is close enough".to_owned()));
    let refused = primary.handle.handoff(Some(7)).await.unwrap_err();
    assert!(
        refused.contains("has no session in the lease store"),
        "{refused}"
    );
    let refused = primary.handle.handoff(Some(1)).await.unwrap_err();
    assert_eq!(refused, "this node is the primary already");
    assert!(primary.leads() && primary.node.commits());
    assert!(!primary.node.has("freeze"));
}

#[tokio::test(start_paused = true)]
async fn an_heir_that_was_demoted_is_none() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    assert_eq!(primary.handle.demote().await, Ok(()));
    until(|| follower.leads() && primary.follows(2) && table.has_post(1)).await;
    let refused = follower.handle.handoff(Some(1)).await.unwrap_err();
    assert!(
        refused.contains("does not want to be the primary"),
        "{refused}"
    );
    assert!(follower.node.commits());
}

#[tokio::test(start_paused = true)]
async fn without_a_renewal_nothing_is_frozen() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    primary.network.lose(Op::Renew, Leg::Request);
    let refused = primary.handle.handoff(None).await;
    assert_eq!(refused, Err("the lease could not be renewed".to_owned()));
    assert!(primary.leads() && primary.node.commits());
    assert!(!primary.node.has("freeze"));
    // A lost answer is found out.
    primary.network.lose(Op::Renew, Leg::Answer);
    assert_eq!(primary.handle.handoff(None).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_frozen_goes_on() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    primary.node.script().freeze = Err("a writer holds its lock".to_owned());
    let refused = primary.handle.handoff(None).await;
    assert_eq!(refused, Err("a writer holds its lock".to_owned()));
    assert!(primary.leads() && primary.node.commits());
    assert_eq!(table.holder(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn an_heir_that_does_not_acknowledge_is_not_waited_for_longer_than_two_seconds() {
    let table = Table::new();
    let (primary, _follower) = table.couple().await;
    for drain in [Some(Err("it has gone".to_owned())), None] {
        primary.node.script().drain = drain;
        primary.node.script().calls.clear();
        let began = tokio::time::Instant::now();
        let refused = primary.handle.handoff(None).await;
        assert!(refused.is_err());
        assert!(began.elapsed() < Duration::from_millis(2100));
        assert!(primary.node.has("thaw"));
        assert!(primary.leads() && primary.node.commits());
    }
    // It is still renewed.
    tokio::time::sleep(TTL * 2).await;
    assert!(primary.leads() && primary.node.commits());
    assert_eq!(table.holder(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_did_not_arrive_is_thawed_after_a_renewal() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.network.lose(Op::Pass, Leg::Request);
    assert!(primary.handle.handoff(None).await.is_err());
    assert!(primary.node.has("thaw"));
    assert!(primary.leads() && primary.node.commits());
    assert!(follower.follows(1));
}

#[tokio::test(start_paused = true)]
async fn a_pass_whose_answer_is_lost_is_found_out() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.network.lose(Op::Pass, Leg::Answer);
    assert_eq!(primary.handle.handoff(None).await, Ok(()));
    assert!(!primary.node.has("thaw"));
    until(|| follower.leads() && primary.follows(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_to_a_session_that_is_gone_is_refused_and_thawed() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    // It ends while the heir is waited for.
    primary.node.script().drain = None;
    let handle = primary.handle.clone();
    let handoff = tokio::spawn(async move { handle.handoff(None).await });
    until(|| primary.node.has("freeze")).await;
    follower.kill();
    let session = follower.lease.known_session().unwrap();
    table.store.end_session(&session);
    assert!(handoff.await.unwrap().is_err());
    primary.node.script().drain = Some(Ok(()));
    let refused = primary.handle.handoff(Some(2)).await.unwrap_err();
    assert!(refused.contains("no session"), "{refused}");
    assert!(primary.leads() && primary.node.commits());
}

#[tokio::test(start_paused = true)]
async fn while_it_is_not_known_whether_it_was_passed_nobody_commits() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    primary.network.lose(Op::Pass, Leg::Answer);
    let (handle, network) = (primary.handle.clone(), primary.network.clone());
    let node = primary.node.clone();
    let handoff = tokio::spawn(async move { handle.handoff(None).await });
    until(|| node.has("freeze")).await;
    network.cut(true);
    let answer = handoff.await.unwrap().unwrap_err();
    assert!(answer.contains("any candidate may take over"), "{answer}");
    assert!(!primary.node.has("thaw"));
    until(|| primary.node.has("fence") && !primary.node.commits()).await;
    {
        let script = primary.node.script();
        assert!(script.fenced_at <= script.deadline);
    }
    network.cut(false);
    until(|| follower.leads() && primary.follows(2) || primary.leads() && follower.follows(1))
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_heir_whose_first_renewal_is_lost_leads_all_the_same() {
    for leg in [Leg::Request, Leg::Answer] {
        let table = Table::new();
        let (primary, follower) = table.couple().await;
        follower.network.lose(Op::Renew, leg);
        assert_eq!(primary.handle.handoff(None).await, Ok(()));
        until(|| follower.leads() && primary.follows(2)).await;
        assert_eq!(table.holder(), Some((2, 2)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_heir_that_dies_is_replaced_after_a_ttl() {
    let table = Table::new();
    let (primary, follower) = table.couple().await;
    follower.network.cut(true);
    assert_eq!(primary.handle.handoff(None).await, Ok(()));
    follower.kill();
    until(|| primary.leads()).await;
    assert_eq!(table.holder(), Some((1, 3)));
}
