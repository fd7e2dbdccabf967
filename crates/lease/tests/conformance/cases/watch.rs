//! Waiting for changes of the record.

use std::time::Duration;

use lease::{Holder, Version};

use super::{take, take_at_last, version};
use crate::backend::{Backend, record, renewed, soon};

const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn wakes_on_every_change(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let mine = record(1, 1);
    let vacant = soon(b.read()).await;
    // A state that is not there any more, or never was, is no reason to wait.
    assert_eq!(soon(b.watch(Version::default(), LONG)).await, vacant);

    let acting = async { take(&a, &mine).await };
    let (seen, taken) = tokio::join!(soon(b.watch(vacant.version, LONG)), acting);
    assert_eq!(seen.version, taken);

    let changed = renewed(&mine, 1);
    let acting = async { version(soon(a.renew(taken, &changed)).await) };
    let (seen, second) = tokio::join!(soon(b.watch(taken, LONG)), acting);
    assert_eq!(seen.version, second);
    assert!(matches!(&seen.holder, Holder::Node(record, _) if record.n == 1));

    let acting = async { version(soon(a.release(&mine)).await) };
    let (seen, third) = tokio::join!(soon(b.watch(second, LONG)), acting);
    assert_eq!((seen.version, seen.holder), (third, Holder::Vacant));

    let held = take(&a, &record(1, 2)).await;
    let session = soon(a.session()).await;
    let acting = backend.end_session(&session);
    let (seen, ()) = tokio::join!(soon(b.watch(held, LONG)), acting);
    assert_eq!(seen.holder, Holder::Vacant);
    assert_eq!(soon(b.watch(third, LONG)).await, seen);
}

pub(crate) async fn returns_unchanged_after_the_wait(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let wait = Duration::from_millis(300);
    for _ in 0..2 {
        let before = soon(b.read()).await;
        for _ in 0..2 {
            let mut watch = b.watch(before.version, wait);
            let seen = loop {
                tokio::select! {
                    seen = &mut watch => break seen.unwrap(),
                    () = backend.tick() => {}
                }
            };
            assert_eq!(seen, before);
        }
        // Then the same with a record.
        take(
            &a,
            &record(
                1,
                soon(a.survey())
                    .await
                    .last_epoch
                    .map_or(1, |last| last.epoch + 1),
            ),
        )
        .await;
    }
}

pub(crate) async fn vacancies_are_told_apart(backend: Box<dyn Backend>) {
    let (a, b) = (backend.node(), backend.node());
    let mut versions = vec![soon(b.read()).await.version];
    for epoch in 1..3 {
        take_at_last(&*backend, &a, &record(1, epoch)).await;
        versions.push(soon(b.read()).await.version);
        backend.end_session(&soon(a.session()).await).await;
        let seen = soon(b.read()).await;
        assert_eq!(seen.holder, Holder::Vacant);
        assert_eq!(soon(b.survey()).await.seen, seen);
        versions.push(seen.version);
    }
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 5, "{versions:?}");
}
