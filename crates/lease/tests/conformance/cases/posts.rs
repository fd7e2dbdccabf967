//! What stands beside the record: posts of candidates, and published positions.

use std::time::Duration;

use lease::{Error, Outcome, Positions};

use super::{take, version};
use crate::backend::{Backend, positions, post, record, soon};

pub(crate) async fn a_survey_sees_all(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let held = take(&a, &record(1, 1)).await;
    soon(a.name_cluster("LFSC1")).await;
    soon(a.post(&post(1, 2))).await;
    soon(b.post(&post(2, 0))).await;
    let published = soon(a.publish(&positions("x", 2))).await;
    assert_eq!(published, Outcome::Done(held));
    let survey = soon(b.survey()).await;
    assert_eq!(survey.seen, soon(a.read()).await);
    assert_eq!(survey.cluster_id.as_deref(), Some("LFSC1"));
    assert_eq!(survey.positions, positions("x", 2));
    let mut posts = survey.posts;
    posts.sort_by_key(|(post, _)| post.node_id);
    let expected = [
        (post(1, 2), soon(a.session()).await),
        (post(2, 0), soon(b.session()).await),
    ];
    assert_eq!(posts, expected);
}

pub(crate) async fn posts_vanish_with_the_session(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    soon(a.post(&post(1, 1))).await;
    soon(b.post(&post(2, 1))).await;
    backend.end_session(&soon(a.session()).await).await;
    let posts = soon(b.survey()).await.posts;
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].0, post(2, 1));

    assert_eq!(a.post(&post(1, 1)).await, Err(Error::SessionGone));
    // With a new session, once the lock-delay is over.
    let again = async {
        loop {
            match a.post(&post(1, 1)).await {
                Ok(()) => return,
                Err(Error::Answer(_)) => backend.tick().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .expect("a post within 10 s");
    assert_eq!(soon(b.survey()).await.posts.len(), 2);
}

pub(crate) async fn a_post_is_replaced_and_taken_back(backend: Box<dyn Backend>) {
    let a = backend.node();
    soon(a.post(&post(1, 1))).await;
    soon(a.post(&post(1, 3))).await;
    let seen = async || soon(a.survey()).await.posts;
    assert_eq!(seen().await, [(post(1, 3), soon(a.session()).await)]);
    // The next process of the same node, while the session of the one before is still there.
    let next = backend.node();
    soon(next.post(&post(1, 2))).await;
    assert_eq!(seen().await, [(post(1, 2), soon(next.session()).await)]);
    soon(next.unpost(1)).await;
    soon(next.unpost(1)).await;
    assert_eq!(seen().await, []);
}

pub(crate) async fn large_sets_come_back_whole(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    take(&a, &record(1, 1)).await;
    // A post that grows and shrinks over the bounds of what one value takes.
    for databases in [3000, 20_000, 1001, 10] {
        let large = post(1, databases);
        soon(a.post(&large)).await;
        let posts = soon(b.survey()).await.posts;
        assert!(posts.len() == 1 && posts[0].0 == large, "{databases}");
    }
    let both: Positions = positions("a", 1500)
        .into_iter()
        .chain(positions("z", 1500))
        .collect();
    for set in [
        positions("m", 3000),
        positions("m", 3000),
        both,
        positions("m", 10),
        Positions::new(),
        positions("m", 1),
    ] {
        version(soon(a.publish(&set)).await);
        let survey = soon(b.survey()).await;
        assert!(survey.positions == set, "{} databases", set.len());
    }
}

pub(crate) async fn only_the_holder_publishes(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let (first, second) = (positions("x", 2500), positions("y", 1200));
    // Without a session, and with one.
    assert_eq!(soon(a.publish(&first)).await, Outcome::Refused);
    soon(a.session()).await;
    assert_eq!(soon(a.publish(&first)).await, Outcome::Refused);
    assert_eq!(soon(b.survey()).await.positions, Positions::new());

    take(&a, &record(1, 1)).await;
    version(soon(a.publish(&first)).await);
    take(&b, &record(2, 2)).await;
    assert_eq!(soon(a.publish(&second)).await, Outcome::Refused);
    assert!(soon(b.survey()).await.positions == first);
    // The next one replaces all of it; and the first one again, whatever it remembers.
    version(soon(b.publish(&second)).await);
    assert!(soon(b.survey()).await.positions == second);
    take(&a, &record(1, 3)).await;
    version(soon(a.publish(&first)).await);
    assert!(soon(b.survey()).await.positions == first);
    let passed = soon(a.read()).await.version;
    let to = soon(b.session()).await;
    version(soon(a.pass(passed, &to, &record(2, 4))).await);
    version(soon(b.publish(&second)).await);
    assert!(soon(b.survey()).await.positions == second);
}
