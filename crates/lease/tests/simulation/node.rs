//! A simulated node.

use std::time::Duration;

use lease::{
    Clock, Doing, Holdings, Identity, MemoryStore, Node, Positions, Record, Term, Trouble,
};
use rand::Rng;

use crate::world::{Db, Reign, World};

/// One node of the world.
pub(crate) struct SimNode {
    world: World,
    store: MemoryStore,
    index: usize,
    me: Identity,
    /// Which process of this node: one that was killed changes nothing any more.
    process: u64,
}

impl SimNode {
    pub(crate) fn new(world: World, store: MemoryStore, index: usize, process: u64) -> SimNode {
        let me = world.lock().peers[index].me.clone();
        SimNode {
            world,
            store,
            index,
            me,
            process,
        }
    }

    /// Takes some time; more of it if the node is slow.
    async fn takes(&self, usual: u64, slow: u64) {
        let millis = {
            let mut world = self.world.lock();
            let is_slow = world.faulty && world.rng.random_bool(0.1);
            let most = if is_slow { slow } else { usual };
            world.rng.random_range(0..=most)
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    fn fails(&self, how_often: f64) -> bool {
        let mut world = self.world.lock();
        world.faulty && world.rng.random_bool(how_often)
    }

    fn now(&self) -> Duration {
        self.world.lock().peers[self.index].clock.now()
    }

    fn stop(&self, why: &str) {
        let mut world = self.world.lock();
        if world.peers[self.index].reign.take().is_some() {
            let (index, process) = (self.index, self.process);
            world.say(format!(
                "{index} (process {process}) stops committing: {why}"
            ));
        }
        world.forget_acknowledgements(self.index);
        world.peers[self.index].following = None;
    }

    /// Gets what other candidates have more.
    async fn pull(&self, term: &Term) {
        for post in &term.ahead {
            self.takes(300, 3000).await;
            let mut world = self.world.lock();
            let other = world.index(post.node_id);
            if world.reaches(other, self.index) {
                let source = world.peers[other].disk.databases.clone();
                let peer = &mut world.peers[self.index];
                for (name, theirs) in &source {
                    let dropped = peer.dropped.get(name);
                    if dropped.is_some_and(|it| it.incarnation == theirs.incarnation) {
                        continue;
                    }
                    let mine = peer.disk.databases.entry(name.clone());
                    let mine = mine.or_insert_with(|| Db {
                        incarnation: theirs.incarnation,
                        log: Vec::new(),
                    });
                    if mine.incarnation == theirs.incarnation && theirs.log.starts_with(&mine.log) {
                        mine.advance(theirs, theirs.log.len());
                    }
                }
            }
        }
    }
}

impl Node for SimNode {
    fn identity(&self) -> Identity {
        self.me.clone()
    }

    fn holdings(&self) -> Doing<'_, Holdings> {
        Box::pin(async move {
            self.takes(20, 3000).await;
            let world = self.world.lock();
            let disk = &world.peers[self.index].disk;
            Holdings {
                cluster_id: disk.cluster_id.clone(),
                epoch: disk.epoch,
                seen_epoch: disk.seen_epoch,
                positions: disk.positions(),
                dropped: world.peers[self.index].dropped.clone(),
            }
        })
    }

    fn extend(&self, deadline: Option<Duration>) {
        let mut world = self.world.lock();
        world.peers[self.index].deadline = deadline;
        if world.peers[self.index].can_commit() {
            world.begins(self.index, "was extended");
        }
    }

    fn lead<'a>(&'a self, term: &'a Term) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.world.lock().peers[self.index].following = None;
            let published = self.store.survey().positions;
            self.world.lock().term_begins(self.index, term, published);
            self.takes(50, 4000).await;
            self.pull(term).await;
            if self.fails(0.05) {
                return Err("the disk is full".to_owned());
            }
            let mut world = self.world.lock();
            world.forget_acknowledgements(self.index);
            world.last_led = term.epoch;
            let peer = &mut world.peers[self.index];
            peer.dropped.clear();
            peer.disk.cluster_id = Some(term.cluster_id.clone());
            peer.disk.epoch = term.epoch;
            peer.disk.seen_epoch = term.epoch;
            peer.following = None;
            peer.reign = Some(Reign {
                epoch: term.epoch,
                frozen: false,
            });
            world.begins(self.index, "leads");
            world.say(format!("{} is the primary of {}", self.index, term.epoch));
            Ok(())
        })
    }

    fn fence(&self, _by: Option<Duration>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.takes(40, 190).await;
            self.stop("fenced");
        })
    }

    fn follow<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.takes(10, 100).await;
            self.stop("follows");
            let mut world = self.world.lock();
            let whom = world.index(primary.node_id);
            if whom == self.index {
                world.violated(format!("{whom} follows itself"));
            }
            let peer = &mut world.peers[self.index];
            peer.disk.seen_epoch = peer.disk.seen_epoch.max(primary.epoch);
            peer.following = Some((whom, primary.epoch));
            Ok(())
        })
    }

    fn stand_by<'a>(&'a self, why: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            self.takes(10, 100).await;
            self.stop(why);
        })
    }

    fn acknowledged(&self) -> Positions {
        self.world.lock().acknowledged(self.index)
    }

    fn heir<'a>(&'a self, wanted: Option<u64>) -> Doing<'a, Result<u64, Trouble>> {
        Box::pin(async move {
            self.takes(5, 1000).await;
            let world = self.world.lock();
            let connected = |index: &usize| {
                let peer = &world.peers[*index];
                peer.me.candidate
                    && world.streams(self.index, *index)
                    && wanted.is_none_or(|id| id == peer.me.node_id)
            };
            let transactions = |index: &usize| {
                let positions = world.peers[*index].disk.positions();
                positions.values().map(|place| place.txid).sum::<u64>()
            };
            (0..world.peers.len())
                .filter(connected)
                .max_by_key(transactions)
                .map(|index| world.peers[index].me.node_id)
                .ok_or_else(|| "no candidate is connected".to_owned())
        })
    }

    fn freeze(&self, within: Duration) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            self.takes(within.as_millis() as u64, within.as_millis() as u64)
                .await;
            if self.fails(0.2) {
                return Err("an application holds a lock".to_owned());
            }
            if let Some(reign) = &mut self.world.lock().peers[self.index].reign {
                reign.frozen = true;
            }
            Ok(())
        })
    }

    fn drain<'a>(&'a self, heir: u64, by: Duration) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            let fails = self.fails(0.2);
            while self.now() < by {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let world = self.world.lock();
                let heir = world.index(heir);
                if !world.streams(self.index, heir) {
                    return Err("the replica has gone".to_owned());
                }
                if !fails && world.is_drained(self.index, heir) {
                    return Ok(());
                }
            }
            Err("not in time".to_owned())
        })
    }

    fn thaw(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            let mut world = self.world.lock();
            if let Some(reign) = &mut world.peers[self.index].reign {
                reign.frozen = false;
            }
            if world.peers[self.index].can_commit() {
                world.begins(self.index, "was thawed");
            }
        })
    }

    fn ask_for_handoff<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            let whom = self.world.lock().index(primary.node_id);
            loop {
                {
                    let world = self.world.lock();
                    let epoch = world.peers[self.index].disk.epoch;
                    if epoch == primary.epoch && world.streams(whom, self.index) {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let handle = self.world.lock().peers[whom].handle.clone();
            let handle = handle.ok_or("the primary has gone")?;
            handle.handoff(Some(self.me.node_id)).await
        })
    }
}
