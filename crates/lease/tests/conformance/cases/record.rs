//! The record: taken, renewed, released, passed.

use lease::{Holder, LastEpoch, Outcome, SessionId, Version};

use super::{assert_held, take, version};
use crate::backend::{Backend, record, renewed, soon};

pub(crate) async fn acquire_vacant(backend: Box<dyn Backend>) {
    let a = backend.node();
    let survey = soon(a.survey()).await;
    assert_eq!(survey.seen.holder, Holder::Vacant);
    assert_eq!(
        (survey.last_epoch, survey.epoch_version),
        (None, Version(0))
    );
    assert_eq!(survey.cluster_id, None);
    assert_eq!(soon(a.read()).await, survey.seen);

    let mine = record(1, 5);
    let taken = version(soon(a.acquire(&survey, &mine)).await);
    assert_ne!(taken, survey.seen.version);
    let survey = soon(backend.node().survey()).await;
    let session = soon(a.session()).await;
    assert_eq!(survey.seen.holder, Holder::Node(mine, Some(session)));
    assert_eq!(survey.seen.version, taken);
    let last = LastEpoch {
        epoch: 5,
        ttl_ms: 10_000,
        released: false,
    };
    assert_eq!(survey.last_epoch, Some(last));
}

pub(crate) async fn two_at_once(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let survey = soon(a.survey()).await;
    let (for_a, for_b) = (record(1, 1), record(2, 1));
    let (a, b) = tokio::join!(
        soon(a.acquire(&survey, &for_a)),
        soon(b.acquire(&survey, &for_b))
    );
    let won = [&a, &b].map(|outcome| *outcome != Outcome::Refused);
    assert!(won[0] ^ won[1], "{a:?} {b:?}");
}

pub(crate) async fn renew_right_and_wrong(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let mine = record(1, 1);
    let first = take(&a, &mine).await;
    let second = version(soon(a.renew(first, &renewed(&mine, 1))).await);
    assert!(second > first);
    let third = renewed(&mine, 2);
    assert_eq!(soon(a.renew(first, &third)).await, Outcome::Refused);
    let later = Version(second.0 + 2);
    assert_eq!(soon(a.renew(later, &third)).await, Outcome::Refused);
    // Without a session, and with one.
    assert_eq!(soon(b.renew(second, &third)).await, Outcome::Refused);
    soon(b.session()).await;
    assert_eq!(soon(b.renew(second, &third)).await, Outcome::Refused);
    assert_held(&b, &renewed(&mine, 1), second).await;
    version(soon(a.renew(second, &third)).await);
    let epoch = soon(a.survey()).await.last_epoch.unwrap();
    assert_eq!(epoch.epoch, 1);
}

pub(crate) async fn takeover_of_what_was_watched(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let (of_a, of_b) = (record(1, 1), record(2, 2));
    let first = take(&a, &of_a).await;
    let stale = soon(b.survey()).await;
    let second = version(soon(a.renew(first, &renewed(&of_a, 1))).await);
    assert_eq!(soon(b.acquire(&stale, &of_b)).await, Outcome::Refused);
    assert_held(&a, &renewed(&of_a, 1), second).await;
    assert_eq!(soon(a.survey()).await.last_epoch.unwrap().epoch, 1);

    let taken = take(&b, &of_b).await;
    assert_held(&a, &of_b, taken).await;
    for known in [second, taken] {
        let renewal = soon(a.renew(known, &renewed(&of_a, 2))).await;
        assert_eq!(renewal, Outcome::Refused);
    }
    assert_eq!(soon(a.release(&of_a)).await, Outcome::Refused);
    assert_held(&a, &of_b, taken).await;
    let last = soon(a.survey()).await.last_epoch.unwrap();
    assert_eq!((last.epoch, last.released), (2, false));
    // The session of the one that lost it is as good as before.
    let back = take(&a, &record(1, 3)).await;
    assert_held(&b, &record(1, 3), back).await;
}

pub(crate) async fn release_is_told(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let mine = record(1, 4);
    let held = take(&a, &mine).await;
    let released = version(soon(a.release(&mine)).await);
    assert_ne!(released, held);
    let survey = soon(b.survey()).await;
    assert_eq!(survey.seen.holder, Holder::Vacant);
    assert_eq!(survey.seen.version, released);
    let last = survey.last_epoch.unwrap();
    assert_eq!((last.epoch, last.released), (4, true));
    assert_eq!(soon(a.release(&mine)).await, Outcome::Refused);
    let renewal = soon(a.renew(released, &renewed(&mine, 1))).await;
    assert_eq!(renewal, Outcome::Refused);
    // There is no lock-delay after it.
    take(&b, &record(2, 5)).await;
    let last = soon(a.survey()).await.last_epoch.unwrap();
    assert_eq!((last.epoch, last.released), (5, false));
}

pub(crate) async fn pass_to_another_session(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let of_a = record(1, 1);
    let of_b = record(2, 2);
    let held = take(&a, &of_a).await;
    let target = soon(b.session()).await;
    let nobody = SessionId("00000000-0000-0000-0000-000000000000".to_owned());
    let wrong = Version(held.0 + 2);
    assert_eq!(soon(a.pass(wrong, &target, &of_b)).await, Outcome::Refused);
    assert_eq!(soon(a.pass(held, &nobody, &of_b)).await, Outcome::Refused);
    assert_eq!(soon(b.pass(held, &target, &of_b)).await, Outcome::Refused);
    assert_held(&b, &of_a, held).await;

    let passed = version(soon(a.pass(held, &target, &of_b)).await);
    let survey = soon(a.survey()).await;
    let expected = Holder::Node(of_b.clone(), Some(target));
    assert_eq!(
        (survey.seen.holder, survey.seen.version),
        (expected, passed)
    );
    let last = survey.last_epoch.unwrap();
    assert_eq!((last.epoch, last.released), (2, false));
    for known in [held, passed] {
        let renewal = soon(a.renew(known, &renewed(&of_a, 1))).await;
        assert_eq!(renewal, Outcome::Refused);
    }
    version(soon(b.renew(passed, &renewed(&of_b, 1))).await);
}

pub(crate) async fn the_epoch_is_a_condition(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    take(&a, &record(1, 1)).await;
    let survey = soon(b.survey()).await;
    for other in [Version(0), Version(survey.epoch_version.0 + 1)] {
        let mut other_epoch = survey.clone();
        other_epoch.epoch_version = other;
        let outcome = soon(b.acquire(&other_epoch, &record(2, 2))).await;
        assert_eq!(outcome, Outcome::Refused);
    }
    assert_eq!(soon(b.read()).await, survey.seen);
    version(soon(b.acquire(&survey, &record(2, 2))).await);
}

pub(crate) async fn close_ends_everything(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    take(&a, &record(1, 1)).await;
    soon(a.post(&crate::backend::post(1, 1))).await;
    soon(a.close()).await;
    let survey = soon(b.survey()).await;
    assert_eq!(survey.seen.holder, Holder::Vacant);
    assert_eq!(survey.posts, []);
    let last = survey.last_epoch.unwrap();
    assert_eq!((last.epoch, last.released), (1, false));
    // The next process of the node is not kept from posting.
    soon(backend.node().post(&crate::backend::post(1, 1))).await;
    soon(a.close()).await;
    soon(a.session()).await;
}

pub(crate) async fn the_cluster_is_named_once(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    assert_eq!(soon(a.name_cluster("LFSC1")).await, "LFSC1");
    assert_eq!(soon(b.name_cluster("LFSC2")).await, "LFSC1");
    let survey = soon(b.survey()).await;
    assert_eq!(survey.cluster_id.as_deref(), Some("LFSC1"));
    assert_eq!(survey.seen.holder, Holder::Vacant);
}
