//! A node that does what it is told, a network that loses what it is told, and a clock by Tokio's paused time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::leaser::{Holder, Leaser};
use crate::member::{Member, MemberConfig, MemberHandle, Phase};
use crate::memory::{Fate, Hook, Leg, MemoryLease, MemoryStore, Op};
use crate::node::{Doing, Holdings, Identity, Node, Term, Trouble};
use crate::record::{Place, Positions, Record};

/// The TTL of these tests.
pub(super) const TTL: Duration = Duration::from_secs(10);

/// Tokio's time.
#[derive(Clone, Copy)]
pub(super) struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        Duration::from_secs(1000) + self.0.elapsed()
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(at.saturating_sub(self.now())).await;
        })
    }

    fn date(&self) -> u64 {
        1_700_000_000
    }
}

/// What a node is told to do, and what it did.
pub(super) struct Script {
    pub(super) holdings: Holdings,
    pub(super) lead: Result<Duration, Trouble>,
    pub(super) heir: Result<u64, Trouble>,
    pub(super) freeze: Result<(), Trouble>,
    /// `None`: it is never done.
    pub(super) drain: Option<Result<(), Trouble>>,
    pub(super) acknowledged: Positions,
    pub(super) ask: Result<(), Trouble>,
    /// Why it cannot follow, the first time.
    pub(super) follow: Option<Trouble>,
    pub(super) calls: Vec<String>,
    pub(super) leads: bool,
    pub(super) frozen: bool,
    pub(super) deadline: Option<Duration>,
    /// When it was fenced last.
    pub(super) fenced_at: Option<Duration>,
}

pub(super) struct FakeNode {
    me: Identity,
    clock: TokioClock,
    script: Mutex<Script>,
}

impl FakeNode {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn did(&self, what: impl Into<String>) {
        self.script().calls.push(what.into());
    }

    /// Whether it did that.
    pub(super) fn has(&self, what: &str) -> bool {
        self.script().calls.iter().any(|call| call == what)
    }

    /// Whether applications can commit.
    pub(super) fn commits(&self) -> bool {
        let script = self.script();
        let in_time = script.deadline.is_none_or(|at| self.clock.now() < at);
        script.leads && !script.frozen && in_time
    }
}

impl Node for FakeNode {
    fn identity(&self) -> Identity {
        self.me.clone()
    }

    fn holdings(&self) -> Doing<'_, Holdings> {
        Box::pin(async { self.script().holdings.clone() })
    }

    fn extend(&self, deadline: Option<Duration>) {
        self.script().deadline = deadline;
    }

    fn lead<'a>(&'a self, term: &'a Term) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.did(format!("lead {}", term.epoch));
            if term.handed_over {
                self.did("lead as the heir");
            }
            let how = self.script().lead.clone();
            tokio::time::sleep(how?).await;
            let mut script = self.script();
            script.leads = true;
            script.frozen = false;
            script.holdings.epoch = term.epoch;
            script.holdings.seen_epoch = term.epoch;
            script.holdings.cluster_id = Some(term.cluster_id.clone());
            Ok(())
        })
    }

    fn fence(&self, _by: Option<Duration>) -> Doing<'_, ()> {
        Box::pin(async {
            self.did("fence");
            let mut script = self.script();
            script.leads = false;
            script.fenced_at = Some(self.clock.now());
        })
    }

    fn follow<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.did(format!("follow {} of {}", primary.node_id, primary.epoch));
            let mut script = self.script();
            if let Some(trouble) = script.follow.take() {
                return Err(trouble);
            }
            let holdings = &mut script.holdings;
            holdings
                .cluster_id
                .get_or_insert(primary.cluster_id.clone());
            holdings.epoch = primary.epoch;
            holdings.seen_epoch = primary.epoch;
            Ok(())
        })
    }

    fn stand_by<'a>(&'a self, _why: &'a str) -> Doing<'a, ()> {
        Box::pin(async { self.did("stand by") })
    }

    fn acknowledged(&self) -> Positions {
        self.script().acknowledged.clone()
    }

    fn heir<'a>(&'a self, wanted: Option<u64>) -> Doing<'a, Result<u64, Trouble>> {
        Box::pin(async move { wanted.map_or_else(|| self.script().heir.clone(), Ok) })
    }

    fn freeze(&self, _within: Duration) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async {
            self.did("freeze");
            let mut script = self.script();
            script.frozen = script.freeze.is_ok();
            script.freeze.clone()
        })
    }

    fn drain<'a>(&'a self, _heir: u64, _by: Duration) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async {
            let drained = self.script().drain.clone();
            match drained {
                Some(drained) => drained,
                None => std::future::pending().await,
            }
        })
    }

    fn thaw(&self) -> Doing<'_, ()> {
        Box::pin(async {
            self.did("thaw");
            self.script().frozen = false;
        })
    }

    fn ask_for_handoff<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.did(format!("ask {}", primary.node_id));
            self.script().ask.clone()
        })
    }
}

/// What the network of one node loses.
#[derive(Clone, Default)]
pub(super) struct Network(Arc<Mutex<Losses>>);

#[derive(Default)]
struct Losses {
    cut: bool,
    next: Vec<(Op, Leg)>,
    cut_with: Option<(Op, Leg)>,
}

impl Network {
    /// The next call of that kind is lost on that leg.
    pub(super) fn lose(&self, op: Op, leg: Leg) {
        self.0.lock().unwrap().next.push((op, leg));
    }

    /// The next call of that kind is lost on that leg, and everything after it.
    pub(super) fn cut_with(&self, op: Op, leg: Leg) {
        self.0.lock().unwrap().cut_with = Some((op, leg));
    }

    pub(super) fn cut(&self, cut: bool) {
        self.0.lock().unwrap().cut = cut;
    }
}

impl Hook for Network {
    fn pass(&self, op: Op, leg: Leg) -> Pin<Box<dyn Future<Output = Fate> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut losses = self.0.lock().unwrap();
            if losses.cut_with == Some((op, leg)) {
                losses.cut_with = None;
                losses.cut = true;
            }
            let next = losses.next.iter().position(|loss| *loss == (op, leg));
            if let Some(next) = next {
                losses.next.remove(next);
                return Fate::Lost;
            }
            if losses.cut {
                Fate::Lost
            } else {
                Fate::Arrives
            }
        })
    }
}

/// One node of a test.
pub(super) struct Seat {
    pub(super) node: Arc<FakeNode>,
    pub(super) network: Network,
    pub(super) lease: MemoryLease,
    pub(super) handle: MemberHandle,
    pub(super) cancel: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Seat {
    pub(super) fn phase(&self) -> Phase {
        self.handle.status().borrow().phase.clone()
    }

    pub(super) fn refusal(&self) -> String {
        let status = self.handle.status();
        let refusal = status.borrow().refusal.clone();
        refusal.unwrap_or_default()
    }

    pub(super) fn leads(&self) -> bool {
        matches!(self.phase(), Phase::Primary { .. })
    }

    pub(super) fn follows(&self, node_id: u64) -> bool {
        matches!(self.phase(), Phase::Follower { primary } if primary.node_id == node_id)
    }

    /// SIGKILL.
    pub(super) fn kill(&self) {
        self.task.abort();
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        let bound = Duration::from_secs(15);
        tokio::time::timeout(bound, self.task)
            .await
            .expect("it stops in time")
            .expect("it ends well");
    }
}

/// A lease store and its clock.
pub(super) struct Table {
    pub(super) clock: TokioClock,
    pub(super) store: MemoryStore,
}

impl Table {
    pub(super) fn new() -> Table {
        let clock = TokioClock(Instant::now());
        let lock_delay = Duration::from_secs(1);
        Table {
            clock,
            store: MemoryStore::new(Arc::new(clock), TTL * 2, lock_delay),
        }
    }

    pub(super) fn seat(&self, node_id: u64) -> Seat {
        self.seat_with(node_id, |_, _| {})
    }

    /// A node that takes part from now on.
    pub(super) fn seat_with(
        &self,
        node_id: u64,
        adapt: impl FnOnce(&mut MemberConfig, &mut Script),
    ) -> Seat {
        let lease = self.store.lease(TTL);
        let network = Network::default();
        lease.set_hook(Some(Arc::new(network.clone())));
        let seat = self.seat_on(node_id, Arc::new(lease.clone()), adapt);
        Seat {
            network,
            lease,
            ..seat
        }
    }

    /// The same, with a lease of another kind.
    pub(super) fn seat_on(
        &self,
        node_id: u64,
        leaser: Arc<dyn Leaser>,
        adapt: impl FnOnce(&mut MemberConfig, &mut Script),
    ) -> Seat {
        let mut config = MemberConfig {
            margin: None,
            reconnect_delay: Duration::from_secs(1),
            demote_delay: Duration::from_secs(10),
            promote: false,
            new_cluster_id: format!("cluster of {node_id}"),
        };
        let mut script = Script {
            holdings: Holdings::default(),
            lead: Ok(Duration::from_millis(10)),
            heir: Err("no candidate is connected".to_owned()),
            freeze: Ok(()),
            drain: Some(Ok(())),
            acknowledged: Positions::new(),
            ask: Ok(()),
            follow: None,
            calls: Vec::new(),
            leads: false,
            frozen: false,
            deadline: None,
            fenced_at: None,
        };
        adapt(&mut config, &mut script);
        let node = Arc::new(FakeNode {
            me: Identity {
                node_id,
                hostname: format!("host{node_id}"),
                advertise_url: format!("http://host{node_id}:1"),
                boot_id: format!("boot{node_id}"),
                candidate: true,
            },
            clock: self.clock,
            script: Mutex::new(script),
        });
        let clock = Arc::new(self.clock);
        let member = Member::new(leaser, node.clone(), clock, config);
        let (handle, cancel) = (member.handle(), CancellationToken::new());
        let task = tokio::spawn(member.run(cancel.clone()));
        Seat {
            node,
            network: Network::default(),
            lease: self.store.lease(TTL),
            handle,
            cancel,
            task,
        }
    }

    /// The primary and a node that follows it and could take over.
    pub(super) async fn couple(&self) -> (Seat, Seat) {
        let primary = self.seat(1);
        until(|| primary.leads()).await;
        let follower = self.seat(2);
        until(|| follower.follows(1) && self.has_post(2)).await;
        primary.node.script().heir = Ok(2);
        (primary, follower)
    }

    pub(super) fn has_post(&self, node_id: u64) -> bool {
        let posts = self.store.survey().posts;
        posts.iter().any(|(post, _)| post.node_id == node_id)
    }

    /// Who holds the lease, and its epoch.
    pub(super) fn holder(&self) -> Option<(u64, u64)> {
        match self.store.survey().seen.holder {
            Holder::Node(record, _) => Some((record.node_id, record.epoch)),
            _ => None,
        }
    }
}

/// Positions of one database.
pub(super) fn database(name: &str, txid: u64) -> Positions {
    let place = Place {
        incarnation: 1,
        txid,
    };
    Positions::from([(name.to_owned(), place)])
}

/// Waits until that is so, for a minute at most.
#[track_caller]
pub(super) fn until(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let by = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < by, "not so after a minute: {caller}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
