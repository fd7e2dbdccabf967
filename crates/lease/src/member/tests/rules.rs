//! Ranking, eligibility, epochs, vacancies.

use std::time::Duration;

use crate::Error;
use crate::leaser::{Holder, Seen, SessionId, Survey, Version};
use crate::member::rules::*;
use crate::node::{Holdings, Identity};
use crate::record::{LastEpoch, Place, Positions, Post, Record};

fn places(list: &[(&str, u64, u64)]) -> Positions {
    list.iter()
        .map(|(name, incarnation, txid)| {
            let place = Place {
                incarnation: *incarnation,
                txid: *txid,
            };
            ((*name).to_owned(), place)
        })
        .collect()
}

fn post(node_id: u64, epoch: u64, positions: &[(&str, u64, u64)]) -> Post {
    Post {
        node_id,
        hostname: format!("host{node_id}"),
        advertise_url: format!("http://host{node_id}:1"),
        epoch,
        seen_epoch: epoch,
        positions: places(positions),
        dropped: Positions::new(),
        willing: true,
        ballot: 7,
    }
}

fn survey(posts: Vec<Post>, published: &[(&str, u64, u64)]) -> Survey {
    Survey {
        seen: Seen {
            version: Version(7),
            holder: Holder::Vacant,
        },
        last_epoch: None,
        epoch_version: Version(0),
        cluster_id: None,
        posts: posts
            .into_iter()
            .map(|post| (post, SessionId::default()))
            .collect(),
        positions: places(published),
    }
}

fn kept(epoch: u64, released: bool) -> Option<LastEpoch> {
    Some(LastEpoch {
        epoch,
        ttl_ms: 4000,
        released,
    })
}

fn holdings(epoch: u64, positions: &[(&str, u64, u64)]) -> Holdings {
    Holdings {
        cluster_id: Some("A".to_owned()),
        epoch,
        seen_epoch: epoch,
        positions: places(positions),
        dropped: Positions::new(),
    }
}

fn me() -> Identity {
    Identity {
        node_id: 1,
        hostname: "host1".to_owned(),
        advertise_url: "http://host1:1".to_owned(),
        boot_id: "boot".to_owned(),
        candidate: true,
    }
}

fn judge(holdings: &Holdings, survey: &Survey) -> Result<(), Refusal> {
    let me = me();
    let applicant = Applicant {
        me: &me,
        holdings,
        forced: false,
        was_last: false,
    };
    eligibility(&applicant, survey)
}

#[test]
fn the_margin_is_two_percent_and_the_time_to_fence() {
    assert_eq!(margin(Duration::from_secs(10)), Duration::from_millis(500));
    assert_eq!(margin(Duration::from_secs(2)), Duration::from_millis(340));
}

#[test]
fn the_higher_epoch_goes_first_then_the_one_with_more_then_the_lower_number() {
    let me = post(5, 3, &[("a", 1, 10), ("b", 1, 5)]);
    for (other, expected) in [
        (post(6, 4, &[]), 1),
        (post(6, 2, &[("a", 1, 99)]), 0),
        // It has all that this node has, and more.
        (post(6, 3, &[("a", 1, 10), ("b", 1, 6)]), 1),
        (post(4, 3, &[("a", 1, 10)]), 0),
        (post(6, 3, &[("a", 1, 10), ("b", 1, 5), ("c", 1, 0)]), 1),
        // Neither has all of the other: the sums decide.
        (post(4, 3, &[("a", 1, 12), ("b", 1, 2)]), 0),
        (post(6, 3, &[("a", 1, 14), ("b", 1, 2)]), 1),
        // The same.
        (post(4, 3, &[("a", 1, 10), ("b", 1, 5)]), 1),
        (post(6, 3, &[("a", 1, 10), ("b", 1, 5)]), 0),
    ] {
        assert_eq!(rank(&me, &[&other]), expected, "{other:?}");
    }
    let others = [
        post(1, 4, &[]),
        post(2, 4, &[]),
        post(9, 1, &[]),
        me.clone(),
    ];
    assert_eq!(rank(&me, &others.iter().collect::<Vec<_>>()), 2);
}

#[test]
fn only_those_who_answered_and_lack_nothing_are_ranked() {
    let late = Post {
        ballot: 6,
        ..post(2, 3, &[("a", 1, 10)])
    };
    let unwilling = Post {
        willing: false,
        ..post(3, 3, &[("a", 1, 10)])
    };
    let posts = vec![
        late,
        unwilling,
        post(4, 3, &[("a", 1, 9)]),
        post(5, 3, &[("a", 2, 10)]),
        post(6, 3, &[("a", 1, 10)]),
        post(7, 0, &[]),
        post(1, 3, &[("a", 1, 10)]),
    ];
    let survey = survey(posts, &[("a", 1, 10)]);
    let ranked: Vec<u64> = rivals(&survey, 1).iter().map(|post| post.node_id).collect();
    assert_eq!(ranked, [6]);
    assert!(!all_answered(&survey));
    let answers: Vec<u64> = answers(&survey, 1)
        .iter()
        .map(|post| post.node_id)
        .collect();
    assert_eq!(answers, [3, 4, 5, 6, 7]);
}

#[test]
fn an_empty_node_is_not_ranked_where_there_is_data() {
    let with_data = survey(vec![post(2, 0, &[]), post(3, 1, &[("a", 1, 1)])], &[]);
    assert_eq!(rivals(&with_data, 1).len(), 1);
    let new = survey(vec![post(2, 0, &[]), post(3, 0, &[])], &[]);
    assert_eq!(rivals(&new, 1).len(), 2);
    assert!(all_answered(&new));
}

#[test]
fn those_who_are_ahead_have_more_of_the_same_epoch() {
    let mine = holdings(3, &[("a", 1, 10), ("b", 2, 5)]);
    let posts = [
        post(2, 3, &[("a", 1, 11)]),
        post(3, 3, &[("c", 1, 1)]),
        post(4, 3, &[("a", 1, 10), ("b", 1, 99)]),
        post(5, 2, &[("a", 1, 99)]),
        post(6, 4, &[("a", 1, 99)]),
    ];
    let found = ahead(&mine, &posts.iter().collect::<Vec<_>>());
    let ids: Vec<u64> = found.iter().map(|post| post.node_id).collect();
    assert_eq!(ids, [2, 3]);
}

#[test]
fn an_epoch_is_greater_than_all_that_anybody_has_heard_of() {
    let date = 1_700_000_000;
    let mut known = survey(vec![post(2, 3, &[])], &[]);
    known.last_epoch = kept(8, true);
    assert_eq!(next_epoch(&known, 8, &holdings(7, &[]), date), Ok(9));
    // Somebody has heard of an epoch of which the store knows nothing: it is not the store that it was.
    assert_eq!(next_epoch(&known, 9, &holdings(7, &[]), date), Ok(date));
    known.posts[0].0.seen_epoch = 10;
    assert_eq!(next_epoch(&known, 8, &holdings(7, &[]), date), Ok(date));
    let heard = Holdings {
        seen_epoch: 2 * date,
        ..holdings(7, &[])
    };
    assert_eq!(next_epoch(&known, 8, &heard, date), Ok(2 * date + 1));
    let new = survey(Vec::new(), &[]);
    assert_eq!(next_epoch(&new, 0, &Holdings::default(), date), Ok(1));
    let last = next_epoch(&new, u64::MAX, &Holdings::default(), date);
    assert_eq!(last, Err(Error::LastEpoch(u64::MAX)));
}

#[test]
fn a_node_without_a_published_database_waits() {
    let survey = survey(Vec::new(), &[("a", 1, 10), ("b", 1, 0)]);
    let case = |mine: &[(&str, u64, u64)]| judge(&holdings(3, mine), &survey);
    assert_eq!(
        case(&[("a", 1, 10)]),
        Err(Refusal::Lacks(vec!["b".to_owned()]))
    );
    assert_eq!(
        case(&[("a", 1, 10), ("b", 2, 7)]),
        Err(Refusal::Another("b".to_owned()))
    );
    let behind = case(&[("a", 1, 9), ("b", 1, 7)]).unwrap_err();
    assert_eq!(
        behind.to_string(),
        "not taking over: database a is at transaction 9 here, and another node has acknowledged 10: waiting for a \
         node that has it; `litefs promote --force` makes this node eligible without these transactions"
    );
    assert_eq!(case(&[("a", 1, 10), ("b", 1, 0), ("c", 1, 1)]), Ok(()));
}

#[test]
fn a_forced_node_is_eligible_unless_it_is_of_another_cluster_or_no_candidate() {
    let mut survey = survey(vec![post(2, 9, &[])], &[("a", 1, 10)]);
    survey.cluster_id = Some("A".to_owned());
    let (mut me, mut mine) = (me(), Holdings::default());
    let judge = |me: &Identity, mine: &Holdings| {
        let applicant = Applicant {
            me,
            holdings: mine,
            forced: true,
            was_last: false,
        };
        eligibility(&applicant, &survey)
    };
    assert_eq!(judge(&me, &mine), Ok(()));
    mine.cluster_id = Some("B".to_owned());
    let refusal = judge(&me, &mine).unwrap_err().to_string();
    let expected = "cannot connect, this node belongs to cluster B, the lease is of cluster A";
    assert!(refusal.starts_with(expected), "{refusal}");
    mine.cluster_id = None;
    me.candidate = false;
    assert_eq!(judge(&me, &mine), Err(Refusal::NoCandidate));
}

#[test]
fn an_empty_node_waits_where_there_may_be_data() {
    let empty = Holdings::default();
    assert_eq!(judge(&empty, &survey(Vec::new(), &[])), Ok(()));
    assert_eq!(judge(&empty, &survey(vec![post(2, 0, &[])], &[])), Ok(()));
    // Another node has led.
    let led = survey(vec![post(2, 1, &[])], &[]);
    assert_eq!(judge(&empty, &led), Err(Refusal::Empty));
    // Something is published.
    let published = survey(Vec::new(), &[("a", 1, 0)]);
    assert_eq!(judge(&empty, &published), Err(Refusal::Empty));
    // The cluster has a name that this node does not have, and there was a primary.
    let mut named = survey(Vec::new(), &[]);
    named.cluster_id = Some("A".to_owned());
    assert_eq!(judge(&empty, &named), Ok(()));
    named.last_epoch = kept(1, false);
    assert_eq!(judge(&empty, &named), Err(Refusal::Empty));
    let me = me();
    let own = Applicant {
        me: &me,
        holdings: &empty,
        forced: false,
        was_last: true,
    };
    assert_eq!(eligibility(&own, &named), Ok(()));
    // It was in a cluster of which the store knows nothing.
    let member = holdings(0, &[]);
    assert_eq!(
        judge(&member, &survey(Vec::new(), &[])),
        Err(Refusal::Empty)
    );
    assert_eq!(judge(&member, &named), Ok(()));
}

#[test]
fn a_vacant_lease_is_waited_for_unless_nobody_can_commit() {
    let (now, ttl) = (Duration::from_secs(100), Duration::from_secs(10));
    let case = |survey: &Survey, cluster: Option<&str>, last: Option<LastTerm>| {
        vacancy(survey, cluster, 1, last, now, ttl)
    };
    let wait = Vacancy::After(ttl);
    let mut new = survey(vec![post(1, 0, &[]), post(2, 0, &[])], &[]);
    assert_eq!(case(&new, None, None), Vacancy::Now);
    // The store may have been emptied.
    assert_eq!(case(&new, Some("A"), None), wait);
    new.posts[1].0.seen_epoch = 1;
    assert_eq!(case(&new, None, None), wait);
    new.posts.clear();
    new.cluster_id = Some("A".to_owned());
    assert_eq!(case(&new, None, None), wait);

    let mut old = survey(Vec::new(), &[]);
    old.last_epoch = kept(5, true);
    assert_eq!(case(&old, Some("A"), None), Vacancy::Now);
    old.last_epoch = kept(5, false);
    assert_eq!(case(&old, Some("A"), None), wait);
    let own = |epoch, undisputed: Option<u64>| {
        Some(LastTerm {
            epoch,
            undisputed: undisputed.map(Duration::from_secs),
        })
    };
    assert_eq!(case(&old, Some("A"), own(5, None)), Vacancy::Own);
    assert_eq!(case(&old, Some("A"), own(4, Some(200))), wait);
    // The store was emptied: while its own lease would hold still, nobody else can have taken it.
    old.last_epoch = None;
    assert_eq!(case(&old, Some("A"), own(5, Some(101))), Vacancy::Own);
    assert_eq!(case(&old, Some("A"), own(5, Some(100))), wait);
    assert_eq!(case(&old, Some("A"), own(5, None)), wait);
    // The longer TTL counts.
    old.last_epoch = Some(LastEpoch {
        epoch: 5,
        ttl_ms: 30_000,
        released: false,
    });
    let longer = Vacancy::After(Duration::from_secs(30));
    assert_eq!(case(&old, Some("A"), None), longer);
}

#[test]
fn what_is_published_does_not_become_less() {
    let before = places(&[("a", 1, 10), ("b", 1, 4), ("gone", 1, 9)]);
    let now = places(&[("a", 1, 7), ("b", 2, 1), ("new", 1, 0)]);
    let expected = places(&[("a", 1, 10), ("b", 2, 1), ("new", 1, 0)]);
    assert_eq!(to_publish(&now, &before), expected);
    // But for what a forced node lacks.
    let mine = places(&[("a", 1, 8), ("b", 2, 9)]);
    assert_eq!(what_is_here(&before, &mine), places(&[("a", 1, 8)]));
}

#[test]
fn what_nobody_had_acknowledged_may_be_lacked_by_who_was_in_sync() {
    let mut survey = survey(
        vec![
            post(2, 3, &[("a", 1, 10)]),
            post(3, 2, &[("a", 1, 10)]),
            post(4, 3, &[("a", 1, 10), ("b", 1, 1)]),
        ],
        &[("a", 1, 10), ("b", 1, 0)],
    );
    let lacks = Err(Refusal::Lacks(vec!["b".to_owned()]));
    let case = |survey: &Survey, epoch| judge(&holdings(epoch, &[("a", 1, 10)]), survey);
    // There was no term that it could have been in sync with.
    assert_eq!(case(&survey, 3), lacks);
    survey.last_epoch = kept(3, false);
    assert_eq!(case(&survey, 3), Ok(()));
    // It was still bootstrapping.
    assert_eq!(case(&survey, 2), lacks);
    let ranked: Vec<u64> = rivals(&survey, 1).iter().map(|post| post.node_id).collect();
    assert_eq!(ranked, [2, 4]);
    // Who has it goes first.
    let me = post(1, 3, &[("a", 1, 10)]);
    assert_eq!(rank(&me, &rivals(&survey, 1)), 1);
    // The one before it of that name is not it.
    let before = holdings(3, &[("a", 1, 10), ("b", 7, 5)]);
    assert_eq!(judge(&before, &survey), Ok(()));
    // Of what somebody had, nothing.
    survey.positions = places(&[("a", 1, 10), ("b", 1, 1)]);
    assert_eq!(case(&survey, 3), lacks);
    assert_eq!(
        judge(&before, &survey),
        Err(Refusal::Another("b".to_owned()))
    );
}

#[test]
fn the_last_term_is_that_of_the_record_or_the_one_that_is_kept() {
    let mut survey = survey(Vec::new(), &[("b", 1, 0)]);
    survey.last_epoch = kept(3, false);
    let mut record = Record {
        hostname: "host2".to_owned(),
        advertise_url: "http://host2:1".to_owned(),
        node_id: 2,
        boot_id: String::new(),
        cluster_id: "A".to_owned(),
        epoch: 4,
        n: 1,
        ttl_ms: 4000,
    };
    let case = |record: &Record, epoch| {
        let mut survey = survey.clone();
        survey.seen.holder = Holder::Node(record.clone(), None);
        judge(&holdings(epoch, &[]), &survey).is_ok()
    };
    assert!(!case(&record, 3) && case(&record, 4));
    // It was handed over, and the heir never led.
    record.n = 0;
    assert!(case(&record, 3) && !case(&record, 4));
}

#[test]
fn what_the_primary_had_a_node_drop_is_not_lacking() {
    let mut mine = holdings(3, &[("a", 1, 10)]);
    mine.dropped = places(&[("b", 2, 5)]);
    let mut survey = survey(Vec::new(), &[("a", 1, 10), ("b", 2, 7)]);
    survey.last_epoch = kept(3, false);
    assert_eq!(judge(&mine, &survey), Ok(()));
    let mut other = post(2, 3, &[("a", 1, 10)]);
    survey.posts = vec![(other.clone(), SessionId::default())];
    assert!(rivals(&survey, 1).is_empty());
    other.dropped = mine.dropped.clone();
    survey.posts = vec![(other, SessionId::default())];
    assert_eq!(rivals(&survey, 1).len(), 1);
    // What others have of it yet is not pulled.
    let has_it = post(3, 3, &[("a", 1, 10), ("b", 2, 7)]);
    assert!(ahead(&mine, &[&has_it]).is_empty());
    assert_eq!(ahead(&mine, &[&post(3, 3, &[("b", 3, 1)])]).len(), 1);
    // Another one came after it, and is here; or has gone too.
    mine.positions = places(&[("a", 1, 10), ("b", 3, 1)]);
    assert_eq!(judge(&mine, &survey), Ok(()));
    // Another database of that name was dropped.
    mine.dropped = places(&[("b", 1, 5)]);
    assert_eq!(judge(&mine, &survey), Err(Refusal::Another("b".to_owned())));
    // It is here again, and behind.
    mine.positions = places(&[("a", 1, 10), ("b", 2, 5)]);
    mine.dropped = places(&[("b", 2, 5)]);
    let behind = judge(&mine, &survey);
    assert!(matches!(behind, Err(Refusal::Behind { .. })), "{behind:?}");
    // It was dropped in another term than the last.
    mine.positions = places(&[("a", 1, 10)]);
    survey.last_epoch = kept(4, false);
    assert_eq!(
        judge(&mine, &survey),
        Err(Refusal::Lacks(vec!["b".to_owned()]))
    );
}
