//! What others do to the store: locks are advisory.

use lease::{Error, Holder, Outcome};

use super::{take, take_at_last};
use crate::backend::{Backend, record, renewed, soon};

pub(crate) async fn a_foreign_value_is_left_alone(backend: Box<dyn Backend>) {
    let a = backend.node();
    for (value, expected) in [
        (
            r#"{"hostname":"fly-1","advertise-url":"http://fly-1:20202"}"#,
            "a node of LiteFS (hostname fly-1) holds the lease",
        ),
        ("hello", "no record of a lease"),
    ] {
        backend.intrude(Some(value)).await;
        let survey = soon(a.survey()).await;
        let Holder::Foreign(text) = &survey.seen.holder else {
            panic!("{survey:?}");
        };
        assert!(text.contains(expected), "{text}");
        let outcome = soon(a.acquire(&survey, &record(1, 1))).await;
        assert_eq!(outcome, Outcome::Refused);
        assert_eq!(soon(a.read()).await, survey.seen);
    }
    backend.intrude(None).await;
    take(&a, &record(1, 1)).await;
}

pub(crate) async fn a_strangers_put_loses_the_lease(backend: Box<dyn Backend>) {
    let a = backend.node();
    let mine = record(1, 1);
    let held = take(&a, &mine).await;
    let same = serde_json::to_string(&renewed(&mine, 1)).unwrap();
    for value in ["hello", &same] {
        backend.intrude(Some(value)).await;
        let renewal = soon(a.renew(held, &renewed(&mine, 2))).await;
        assert_eq!(renewal, Outcome::Refused);
    }
    backend.intrude(None).await;
    let renewal = soon(a.renew(held, &renewed(&mine, 2))).await;
    assert_eq!(renewal, Outcome::Refused);
    assert_eq!(soon(a.read()).await.holder, Holder::Vacant);
}

pub(crate) async fn a_session_ended_outside_loses_the_lease(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let mine = record(1, 1);
    let held = take(&a, &mine).await;
    backend.end_session(&soon(a.session()).await).await;
    let survey = soon(b.survey()).await;
    assert_eq!(survey.seen.holder, Holder::Vacant);
    assert!(!survey.last_epoch.unwrap().released);
    let renewal = soon(a.renew(held, &renewed(&mine, 1))).await;
    assert_eq!(renewal, Outcome::Refused);
    assert_eq!(a.session().await, Err(Error::SessionGone));
    soon(a.session()).await;

    // The lock-delay keeps everybody from it, and then nobody.
    let early = soon(b.acquire(&survey, &record(2, 2))).await;
    assert_eq!(early, Outcome::Refused);
    take_at_last(&*backend, &b, &record(2, 2)).await;
}
