//! A cluster that is simulated: its processes, its network, its lease store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lease::{
    Fate, Hook, Leg, Member, MemberConfig, MemberHandle, MemberStatus, MemoryStore, Op, Phase,
};
use rand::Rng;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::SkewedClock;
use crate::node::SimNode;
use crate::pausable::Signals;
use crate::world::World;

/// A running process of a node.
struct Process {
    task: JoinHandle<()>,
    cancel: CancellationToken,
    signals: Signals,
}

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) store: MemoryStore,
    pub(crate) ttl: Duration,
    pub(crate) demote_delay: Duration,
    processes: Vec<Option<Process>>,
    started: u64,
    background: JoinHandle<()>,
}

/// What lies between one node and the store.
struct Wire {
    world: World,
    index: usize,
}

impl Hook for Wire {
    fn pass(&self, _op: Op, _leg: Leg) -> Pin<Box<dyn Future<Output = Fate> + Send + '_>> {
        Box::pin(async move {
            let (delay, lost) = {
                let mut world = self.world.lock();
                let cut = world.store_is_down || world.peers[self.index].cut_from_store;
                let lost = world.loss;
                let lost = cut || (lost > 0.0 && world.rng.random_bool(lost));
                let most = world.delay.as_micros() as u64;
                (
                    Duration::from_micros(world.rng.random_range(0..=most)),
                    lost,
                )
            };
            tokio::time::sleep(delay).await;
            if lost {
                // Some networks say so at once, some never.
                if self.world.lock().rng.random_bool(0.5) {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                return Fate::Lost;
            }
            Fate::Arrives
        })
    }
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Cluster {
        let world = World::new(seed);
        let (ttl, demote_delay, lock_delay, count) = {
            let mut inner = world.lock();
            let ttl = [2, 2, 3, 10, 30][inner.rng.random_range(0..5)];
            let demote_delay = inner.rng.random_range(0..4);
            let lock_delay = inner.rng.random_range(0..=1000);
            let all = (ttl, demote_delay, lock_delay, inner.peers.len());
            inner.say(format!(
                "seed {seed}: TTL, demote-delay, lock-delay, nodes: {all:?}"
            ));
            all
        };
        let clock = SkewedClock::new(Instant::now(), Duration::from_secs(1000), 1.0);
        let store = MemoryStore::new(
            Arc::new(clock),
            Duration::from_secs((2 * ttl).max(10)),
            Duration::from_millis(lock_delay),
        );
        let background = tokio::spawn(world.clone().go_on(store.clone()));
        Cluster {
            world,
            store,
            ttl: Duration::from_secs(ttl),
            demote_delay: Duration::from_secs(demote_delay),
            processes: (0..count).map(|_| None).collect(),
            started: 0,
            background,
        }
    }

    /// Starts a process of that node, if there is none.
    pub(crate) fn start(&mut self, index: usize) {
        if self.processes[index].is_some() {
            return;
        }
        self.started += 1;
        let process = self.started;
        let mut world = self.world.lock();
        world.say(format!("{index} starts (process {process})"));
        let config = MemberConfig {
            margin: None,
            reconnect_delay: Duration::from_millis(world.rng.random_range(200..1500)),
            demote_delay: self.demote_delay,
            promote: world.rng.random_bool(0.05),
            new_cluster_id: format!("LFSC{process:016X}"),
        };
        let clock = world.peers[index].clock;
        drop(world);
        let lease = self.store.lease(self.ttl);
        lease.set_hook(Some(Arc::new(Wire {
            world: self.world.clone(),
            index,
        })));
        let node = SimNode::new(self.world.clone(), self.store.clone(), index, process);
        let member = Member::new(Arc::new(lease), Arc::new(node), Arc::new(clock), config);
        let peer = &mut self.world.lock().peers[index];
        peer.runs = true;
        peer.dropped.clear();
        peer.handle = Some(member.handle());
        let (cancel, signals) = (CancellationToken::new(), Signals::default());
        let task = tokio::spawn(signals.govern(member.run(cancel.clone())));
        self.processes[index] = Some(Process {
            task,
            cancel,
            signals,
        });
    }

    /// Kills it. Its applications commit until the deadline.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(process) = self.processes[index].take() {
            process.task.abort();
            let mut world = self.world.lock();
            world.say(format!("{index} is killed"));
            world.peers[index].runs = false;
            world.peers[index].handle = None;
        }
    }

    /// Kills the whole machine.
    pub(crate) fn power_off(&mut self, index: usize) {
        self.kill(index);
        let mut world = self.world.lock();
        let peer = &mut world.peers[index];
        peer.reign = None;
        if !peer.me.boot_id.is_empty() {
            peer.me.boot_id.push('\'');
        }
    }

    /// Ends it in peace. How long it may take is a rule.
    pub(crate) async fn stop(&mut self, index: usize) {
        let Some(process) = self.processes[index].take() else {
            return;
        };
        self.world.lock().say(format!("{index} is to stop"));
        process.signals.resume();
        process.cancel.cancel();
        let bound = Duration::from_secs(12) + self.ttl;
        let ended = tokio::time::timeout(bound, process.task).await;
        let mut world = self.world.lock();
        if !matches!(ended, Ok(Ok(()))) {
            world.violated(format!("{index} did not stop within {bound:?}: {ended:?}"));
        }
        world.say(format!("{index} has stopped"));
        if world.peers[index].reign.is_some() {
            world.violated(format!("{index} leads after its end"));
        }
        world.peers[index].runs = false;
        world.peers[index].handle = None;
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&mut self, index: usize) {
        if let Some(process) = &self.processes[index] {
            process.signals.stop();
            let mut world = self.world.lock();
            world.say(format!("{index} is suspended"));
            world.peers[index].runs = false;
        }
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self, index: usize) {
        if let Some(process) = &self.processes[index] {
            process.signals.resume();
            let mut world = self.world.lock();
            world.say(format!("{index} is resumed"));
            world.peers[index].runs = true;
        }
    }

    pub(crate) fn handle(&self, index: usize) -> Option<MemberHandle> {
        self.world.lock().peers[index].handle.clone()
    }

    pub(crate) fn status(&self, index: usize) -> Option<MemberStatus> {
        Some(self.handle(index)?.status().borrow().clone())
    }

    /// Who can commit.
    pub(crate) fn primaries(&self) -> Vec<usize> {
        let world = self.world.lock();
        (0..world.peers.len())
            .filter(|index| world.peers[*index].can_commit())
            .collect()
    }

    /// Whether there is one primary, and everybody else follows it.
    pub(crate) fn is_settled(&self) -> Result<usize, String> {
        let primaries = self.primaries();
        let [primary] = primaries[..] else {
            return Err(format!("primaries: {primaries:?}"));
        };
        let Some(Phase::Primary { epoch, .. }) = self.status(primary).map(|status| status.phase)
        else {
            return Err(format!("{primary} commits and is no primary"));
        };
        for index in (0..self.world.count()).filter(|index| *index != primary) {
            let Some(status) = self.status(index) else {
                return Err(format!("{index} does not run"));
            };
            let follows = matches!(&status.phase, Phase::Follower { primary: whom }
                if whom.node_id == primary as u64 + 1 && whom.epoch == epoch);
            if !follows || self.world.lock().peers[index].following != Some((primary, epoch)) {
                return Err(format!("{index} does not follow {primary}: {status:?}"));
            }
        }
        Ok(primary)
    }

    /// Everything is whole again.
    pub(crate) fn heal(&mut self) {
        let count = self.world.count();
        {
            let mut world = self.world.lock();
            world.say("everything is whole again");
            world.store_is_down = false;
            world.loss = 0.0;
            world.faulty = false;
            world.delay = Duration::from_millis(5);
            for one in 0..count {
                world.peers[one].cut_from_store = false;
                for other in 0..count {
                    world.cut(one, other, false);
                }
            }
        }
        for index in 0..count {
            self.resume(index);
            self.start(index);
        }
    }

    pub(crate) fn store_has_a_stranger(&self) -> bool {
        matches!(self.store.survey().seen.holder, lease::Holder::Foreign(_))
    }

    /// The store ends the session of that node.
    pub(crate) fn end_session(&self, index: usize) {
        let posts = self.store.survey().posts;
        let of_it = posts
            .iter()
            .find(|(post, _)| post.node_id == index as u64 + 1);
        if let Some((_, session)) = of_it {
            self.world
                .lock()
                .say(format!("the session of {index} ends"));
            self.store.end_session(session);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.background.abort();
        for process in self.processes.iter().flatten() {
            process.task.abort();
        }
    }
}
