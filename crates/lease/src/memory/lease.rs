//! One node's view of the lease store in memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MemoryStore;
use super::hook::{Fate, Hook, Leg, Op};
use super::state::State;
use crate::error::Error;
use crate::leaser::{Answer, Leaser, Outcome, Seen, SessionId, Survey, Traits, Version};
use crate::record::{Positions, Post, Record};

/// A [`MemoryStore`] on behalf of one node. Clones are the same node.
#[derive(Clone)]
pub struct MemoryLease(Arc<View>);

struct View {
    store: MemoryStore,
    ttl: Duration,
    session: Mutex<Option<SessionId>>,
    /// The node whose post is there under that session.
    posted: Mutex<Option<u64>>,
    /// Requests to publish, so far.
    publications: AtomicU64,
    hook: Mutex<Option<Arc<dyn Hook>>>,
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLease")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only single values are behind these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost() -> Error {
    Error::Unreachable("the lease store in memory: no answer".to_owned())
}

impl MemoryLease {
    pub(super) fn new(store: MemoryStore, ttl: Duration) -> MemoryLease {
        MemoryLease(Arc::new(View {
            store,
            ttl,
            session: Mutex::new(None),
            posted: Mutex::new(None),
            publications: AtomicU64::new(0),
            hook: Mutex::new(None),
        }))
    }

    /// Puts a network between this node and the store; `None`: one without faults.
    pub fn set_hook(&self, hook: Option<Arc<dyn Hook>>) {
        *lock(&self.0.hook) = hook;
    }

    /// The session that this node believes to have.
    pub fn known_session(&self) -> Option<SessionId> {
        lock(&self.0.session).clone()
    }

    /// One call: out through the network, carried out, back through the network. It goes on when the caller gives up.
    fn call<T: Send + 'static>(
        &self,
        op: Op,
        act: impl FnOnce(&View, &mut State, Duration) -> Result<T, Error> + Send + 'static,
    ) -> Answer<'static, T> {
        let view = self.0.clone();
        let patience = view.patience();
        self.travel(op, patience, async move {
            view.store.with(|state, now| act(&view, state, now))
        })
    }

    fn travel<T: Send + 'static>(
        &self,
        op: Op,
        patience: Duration,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Answer<'static, T> {
        let view = self.0.clone();
        Box::pin(async move {
            let clock = view.store.0.clock.clone();
            let by = clock.now() + patience;
            let hook = lock(&view.hook).clone();
            let Some(hook) = hook else { return work.await };
            let travels = tokio::spawn(async move {
                if hook.pass(op, Leg::Request).await == Fate::Lost {
                    return Err(lost());
                }
                let done = work.await;
                match hook.pass(op, Leg::Answer).await {
                    Fate::Arrives => done,
                    Fate::Lost => Err(lost()),
                }
            });
            tokio::select! {
                biased;
                arrived = travels => arrived.unwrap_or_else(|_| Err(lost())),
                () = clock.until(by) => Err(lost()),
            }
        })
    }
}

impl View {
    /// For how long a call waits for its answer, as with Consul.
    fn patience(&self) -> Duration {
        crate::leaser::patience(Some(self.ttl))
    }

    fn own(&self, state: &mut State, now: Duration) -> SessionId {
        lock(&self.session)
            .get_or_insert_with(|| state.new_session(now))
            .clone()
    }

    fn forget(&self) -> Option<SessionId> {
        *lock(&self.posted) = None;
        lock(&self.session).take()
    }
}

impl Leaser for MemoryLease {
    fn traits(&self) -> Traits {
        Traits {
            ttl: Some(self.0.ttl),
            movable: true,
        }
    }

    fn describe(&self) -> String {
        "a lease in memory".to_owned()
    }

    fn read(&self) -> Answer<'_, Seen> {
        self.call(Op::Read, |_, state, _| Ok(state.seen()))
    }

    fn watch(&self, known: Version, wait: Duration) -> Answer<'_, Seen> {
        let store = self.0.store.clone();
        let patience = wait + self.0.patience();
        self.travel(Op::Watch, patience, async move {
            let clock = &store.0.clock;
            let by = clock.now() + wait;
            loop {
                let mut changed = std::pin::pin!(store.0.changed.notified());
                changed.as_mut().enable();
                let (version, next_end) = store.look(|state| (state.version(), state.next_end()));
                if version != known || clock.now() >= by {
                    return Ok(store.look(|state| state.seen()));
                }
                let until = next_end.map_or(by, |end| end.min(by));
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = clock.until(until) => {}
                }
            }
        })
    }

    fn survey(&self) -> Answer<'_, Survey> {
        self.call(Op::Survey, |_, state, _| Ok(state.survey()))
    }

    fn session(&self) -> Answer<'_, SessionId> {
        self.call(Op::Session, |view, state, now| {
            let own = view.own(state, now);
            if state.renew_session(&own, now) {
                return Ok(own);
            }
            view.forget();
            Err(Error::SessionGone)
        })
    }

    fn acquire<'a>(&'a self, over: &'a Survey, record: &'a Record) -> Answer<'a, Outcome> {
        let (over, record) = (over.clone(), record.clone());
        self.call(Op::Acquire, move |view, state, now| {
            let own = view.own(state, now);
            state.acquire(&over, &own, &record, now)
        })
    }

    fn renew<'a>(&'a self, known: Version, record: &'a Record) -> Answer<'a, Outcome> {
        let record = record.clone();
        self.call(Op::Renew, move |view, state, now| {
            let own = view.own(state, now);
            state.renew(known, &own, &record)
        })
    }

    fn release<'a>(&'a self, record: &'a Record) -> Answer<'a, Outcome> {
        let record = record.clone();
        self.call(Op::Release, move |view, state, now| {
            let own = view.own(state, now);
            state.release(&own, &record)
        })
    }

    fn pass<'a>(
        &'a self,
        known: Version,
        target: &'a SessionId,
        record: &'a Record,
    ) -> Answer<'a, Outcome> {
        let (target, record) = (target.clone(), record.clone());
        self.call(Op::Pass, move |view, state, now| {
            let own = view.own(state, now);
            state.pass(known, &own, &target, &record)
        })
    }

    fn post<'a>(&'a self, post: &'a Post) -> Answer<'a, ()> {
        let post = post.clone();
        self.call(Op::Post, move |view, state, now| {
            let own = view.own(state, now);
            match state.post(&own, &post, now) {
                Some(true) => {
                    *lock(&view.posted) = Some(post.node_id);
                    Ok(())
                }
                Some(false) => Err(Error::Answer(
                    "the post is refused: the lock-delay of this node's last session is not over"
                        .to_owned(),
                )),
                None => {
                    view.forget();
                    Err(Error::SessionGone)
                }
            }
        })
    }

    fn unpost(&self, node_id: u64) -> Answer<'_, ()> {
        self.call(Op::Unpost, move |_, state, _| {
            state.unpost(node_id);
            Ok(())
        })
    }

    fn publish<'a>(&'a self, positions: &'a Positions) -> Answer<'a, Outcome> {
        let positions = positions.clone();
        let nth = self.0.publications.fetch_add(1, Ordering::Relaxed) + 1;
        self.call(Op::Publish, move |view, state, now| {
            let own = view.own(state, now);
            Ok(state.publish(&own, nth, &positions))
        })
    }

    fn name_cluster<'a>(&'a self, id: &'a str) -> Answer<'a, String> {
        let id = id.to_owned();
        self.call(Op::NameCluster, move |_, state, _| {
            Ok(state.name_cluster(&id))
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.call(Op::Close, |view, state, now| {
            // The post goes first, so that the next process of this node is not kept from posting by the lock-delay.
            if let Some(node_id) = lock(&view.posted).take() {
                state.unpost(node_id);
            }
            if let Some(own) = view.forget() {
                state.end_session(&own, now);
            }
            Ok(())
        })
    }
}
