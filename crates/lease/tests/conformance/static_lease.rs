//! The part of it all that a static lease can do.

use std::time::Duration;

use lease::{Error, Holder, Leaser, Outcome, Positions, SessionId, StaticLease, Traits, Version};

use crate::backend::{positions, post, record, renewed, soon};

const STATIC: Traits = Traits {
    ttl: None,
    movable: false,
};

#[tokio::test]
async fn the_primary_takes_it_and_keeps_it() {
    let lease = StaticLease::new(true, None, None).unwrap();
    assert_eq!(lease.traits(), STATIC);
    let survey = soon(lease.survey()).await;
    assert_eq!(survey.seen.holder, Holder::Vacant);
    assert_eq!(
        (survey.last_epoch, survey.epoch_version),
        (None, Version(0))
    );
    assert_eq!(
        soon(lease.publish(&Positions::new())).await,
        Outcome::Refused
    );

    let mine = record(1, 7);
    let Outcome::Done(first) = soon(lease.acquire(&survey, &mine)).await else {
        panic!("refused");
    };
    let seen = soon(lease.watch(survey.seen.version, Duration::from_secs(60))).await;
    assert_eq!(seen.version, first);
    let session = soon(lease.session()).await;
    assert_eq!(seen.holder, Holder::Node(mine.clone(), Some(session)));
    let wait = Duration::from_millis(1);
    assert_eq!(soon(lease.watch(first, wait)).await, seen);
    assert_ne!(
        soon(lease.renew(first, &renewed(&mine, 1))).await,
        Outcome::Refused
    );
    soon(lease.post(&post(1, 1))).await;
    assert_ne!(
        soon(lease.publish(&positions("x", 1))).await,
        Outcome::Refused
    );
    assert_eq!(soon(lease.name_cluster("LFSC1")).await, "LFSC1");

    let no = Err(Error::Unsupported("static lease does not support handoff"));
    assert_eq!(lease.release(&mine).await, no);
    let target = SessionId("other".to_owned());
    assert_eq!(lease.pass(first, &target, &mine).await, no);
    soon(lease.close()).await;
}

#[tokio::test]
async fn a_replica_sees_the_configured_primary() {
    let lease = StaticLease::new(false, Some("db1"), Some("http://10.0.0.7:20202")).unwrap();
    assert_eq!(lease.traits(), STATIC);
    let survey = soon(lease.survey()).await;
    let Holder::Node(primary, None) = &survey.seen.holder else {
        panic!("{survey:?}");
    };
    assert_eq!(primary.hostname, "db1");
    assert_eq!(primary.advertise_url, "http://10.0.0.7:20202");
    assert_eq!((primary.epoch, primary.ttl_ms), (0, 0));
    let version = survey.seen.version;
    assert_eq!(
        soon(lease.acquire(&survey, &record(1, 1))).await,
        Outcome::Refused
    );
    assert_eq!(
        soon(lease.renew(version, &record(1, 1))).await,
        Outcome::Refused
    );
    let wait = Duration::from_millis(1);
    assert_eq!(soon(lease.watch(version, wait)).await, survey.seen);
    assert_eq!(soon(lease.read()).await, survey.seen);
}
