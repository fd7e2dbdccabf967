//! What only the lease in memory can be made to do.

use std::sync::Arc;
use std::time::Duration;

use lease::testing::ManualClock;
use lease::{
    Clock, Error, Fate, Holder, Leaser, Leg, MemoryLease, MemoryStore, Op, Outcome, SessionId,
};

use crate::backend::{record, renewed, soon};

const TTL: Duration = Duration::from_secs(2);

fn store() -> (Arc<ManualClock>, MemoryStore) {
    let clock = Arc::new(ManualClock::new());
    let store = MemoryStore::new(
        clock.clone(),
        Duration::from_secs(10),
        Duration::from_secs(1),
    );
    (clock, store)
}

/// From now on the network of that node loses that leg of that call.
fn lose(lease: &MemoryLease, op: Op, leg: Leg) {
    let hook = move |its_op: Op, its_leg: Leg| {
        let fate = match (its_op, its_leg) == (op, leg) {
            true => Fate::Lost,
            false => Fate::Arrives,
        };
        let fated: std::pin::Pin<Box<dyn Future<Output = Fate> + Send>> =
            Box::pin(std::future::ready(fate));
        fated
    };
    lease.set_hook(Some(Arc::new(hook)));
}

#[tokio::test]
async fn a_session_that_is_not_renewed_ends_by_the_clock() {
    let (clock, store) = store();
    let (a, b) = (store.lease(TTL), store.lease(TTL));
    let survey = soon(a.survey()).await;
    soon(a.acquire(&survey, &record(1, 1))).await;
    for _ in 0..5 {
        clock.advance(Duration::from_secs(9));
        soon(a.session()).await;
    }
    let held = soon(b.read()).await.version;
    let advance = async { clock.advance(Duration::from_secs(10)) };
    let (seen, ()) = tokio::join!(soon(b.watch(held, Duration::from_secs(60))), advance);
    assert_eq!(seen.holder, Holder::Vacant);
    let survey = soon(b.survey()).await;
    assert_eq!(
        soon(b.acquire(&survey, &record(2, 2))).await,
        Outcome::Refused
    );
    clock.advance(Duration::from_secs(1));
    assert_ne!(
        soon(b.acquire(&survey, &record(2, 2))).await,
        Outcome::Refused
    );
}

#[tokio::test]
async fn requests_and_answers_are_lost() {
    let (_clock, store) = store();
    let lease = store.lease(TTL);
    let survey = soon(lease.survey()).await;
    lose(&lease, Op::Acquire, Leg::Request);
    let lost = lease.acquire(&survey, &record(1, 1)).await;
    assert!(matches!(lost, Err(Error::Unreachable(_))), "{lost:?}");
    assert_eq!(store.survey().seen.holder, Holder::Vacant);
    assert_eq!(lease.known_session(), None);
    lose(&lease, Op::Acquire, Leg::Answer);
    let lost = lease.acquire(&survey, &record(1, 1)).await;
    assert!(matches!(lost, Err(Error::Unreachable(_))), "{lost:?}");
    let session = lease.known_session();
    assert_eq!(
        store.survey().seen.holder,
        Holder::Node(record(1, 1), session)
    );
}

#[tokio::test]
async fn a_request_that_is_late_is_carried_out_after_its_caller_gave_up() {
    let (clock, store) = store();
    let lease = store.lease(TTL);
    let survey = soon(lease.survey()).await;
    let Outcome::Done(held) = soon(lease.acquire(&survey, &record(1, 1))).await else {
        panic!("refused");
    };
    let slow = clock.clone();
    lease.set_hook(Some(Arc::new(move |_, leg| {
        let clock = slow.clone();
        let passed: std::pin::Pin<Box<dyn Future<Output = Fate> + Send>> = Box::pin(async move {
            if leg == Leg::Request {
                clock.until(clock.now() + Duration::from_secs(5)).await;
            }
            Fate::Arrives
        });
        passed
    })));
    let changed = renewed(&record(1, 1), 1);
    let mut renewal = lease.renew(held, &changed);
    let outcome = loop {
        tokio::select! {
            outcome = &mut renewal => break outcome,
            () = tokio::task::yield_now() => clock.advance(Duration::from_millis(100)),
        }
    };
    assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
    assert_eq!(store.survey().seen.version, held);
    clock.advance(Duration::from_secs(5));
    let watch = store.lease(TTL);
    let seen = soon(watch.watch(held, Duration::from_secs(60))).await;
    assert!(matches!(seen.holder, Holder::Node(record, _) if record.n == 1));
}

#[tokio::test]
async fn a_store_that_lost_everything_is_one_without_sessions() {
    let (_clock, store) = store();
    let lease = store.lease(TTL);
    let first = soon(lease.session()).await;
    store.wipe();
    assert_eq!(lease.session().await, Err(Error::SessionGone));
    let second: SessionId = soon(lease.session()).await;
    assert_ne!(first, second);
}
