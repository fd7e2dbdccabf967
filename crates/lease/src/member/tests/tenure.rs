//! Deadlines, and what a state of the record says to its holder.

use std::time::Duration;

use crate::leaser::{Holder, Seen, SessionId, Version};
use crate::member::tenure::{Sight, Tenure};
use crate::record::Record;

fn record(n: u64) -> Record {
    Record {
        hostname: "host1".to_owned(),
        advertise_url: "http://host1:1".to_owned(),
        node_id: 1,
        boot_id: "boot".to_owned(),
        cluster_id: "A".to_owned(),
        epoch: 4,
        n,
        ttl_ms: 10_000,
    }
}

fn session() -> SessionId {
    SessionId("s".to_owned())
}

fn tenure() -> Tenure {
    let ttl = Some(Duration::from_secs(10));
    let sent = Duration::from_secs(100);
    Tenure::new(record(1), Version(1), session(), sent, ttl, None)
}

fn seen(version: u64, record: Record) -> Seen {
    Seen {
        version: Version(version),
        holder: Holder::Node(record, Some(session())),
    }
}

fn seconds(tenure: &Tenure) -> f64 {
    tenure.deadline().unwrap().as_secs_f64()
}

#[test]
fn it_counts_from_before_the_request() {
    let mut tenure = tenure();
    assert_eq!(seconds(&tenure), 109.5);
    assert_eq!(tenure.fence_at(), Some(Duration::from_millis(109_300)));
    assert_eq!(tenure.renew_at(), Some(Duration::from_millis(102_500)));
    tenure.sending(record(2), Duration::from_secs(103));
    assert_eq!(seconds(&tenure), 109.5);
    tenure.renewed(2, Version(2));
    assert_eq!(seconds(&tenure), 112.5);
    assert_eq!((tenure.record.n, tenure.version), (2, Version(2)));
}

#[test]
fn a_lease_without_a_ttl_holds_for_ever() {
    let sent = Duration::from_secs(100);
    let tenure = Tenure::new(record(1), Version(1), session(), sent, None, None);
    assert_eq!(tenure.deadline(), None);
    assert_eq!(tenure.fence_at(), None);
    assert_eq!(tenure.renew_at(), None);
}

#[test]
fn a_renewal_without_an_answer_counts_from_when_that_very_one_was_sent() {
    let mut tenure = tenure();
    tenure.sending(record(2), Duration::from_secs(102));
    tenure.sending(record(3), Duration::from_secs(105));
    assert_eq!(tenure.witness(&seen(1, record(1))), Sight::Held);
    assert_eq!(seconds(&tenure), 109.5);
    assert_eq!(tenure.witness(&seen(2, record(2))), Sight::Renewed);
    assert_eq!(seconds(&tenure), 111.5);
    // The other one was conditional on the version before: it can never be carried out.
    assert!(!tenure.is_unsure());
    assert_eq!(tenure.witness(&seen(1, record(1))), Sight::Held, "late");
    assert_eq!(seconds(&tenure), 111.5);
}

#[test]
fn a_refused_renewal_is_no_unanswered_one() {
    let mut tenure = tenure();
    tenure.sending(record(2), Duration::from_secs(102));
    tenure.sending(record(3), Duration::from_secs(105));
    tenure.refused(3);
    assert!(tenure.is_unsure());
    tenure.refused(2);
    assert!(!tenure.is_unsure());
}

#[test]
fn anything_else_is_a_loss() {
    let mut other_session = seen(1, record(1));
    other_session.holder = Holder::Node(record(1), Some(SessionId("t".to_owned())));
    let mut unlocked = seen(1, record(1));
    unlocked.holder = Holder::Node(record(1), None);
    let higher = Record {
        epoch: 5,
        ..record(1)
    };
    let altered = Record {
        advertise_url: "http://other:1".to_owned(),
        ..record(1)
    };
    let vacant = Seen {
        version: Version(2),
        holder: Holder::Vacant,
    };
    let foreign = Seen {
        version: Version(2),
        holder: Holder::Foreign("a stranger".to_owned()),
    };
    for seen in [
        other_session,
        unlocked,
        seen(2, higher),
        seen(2, altered),
        // The same words, written by somebody else.
        seen(2, record(1)),
        // A renewal that this node has never sent.
        seen(2, record(9)),
        vacant,
        foreign,
    ] {
        let sight = tenure().witness(&seen);
        assert!(matches!(sight, Sight::Lost(_)), "{seen:?}: {sight:?}");
    }
}
