//! What the nodes of a simulation have, who can commit, and what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lease::{Clock, Identity, MemberHandle, MemoryStore, Place, Positions, Term};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::clock::SkewedClock;

/// How many transactions a replica gets per tick at most.
const BATCH: usize = 6;

/// Everything that is simulated, but the lease store.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

/// The transactions of a database.
type Log = Vec<u64>;

/// A database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Db {
    pub(crate) incarnation: u64,
    pub(crate) log: Log,
}

impl Db {
    pub(crate) fn place(&self) -> Place {
        Place {
            incarnation: self.incarnation,
            txid: self.log.len() as u64,
        }
    }

    /// Brings it on, by so many transactions; what is not in theirs goes.
    pub(crate) fn advance(&mut self, theirs: &Db, batch: usize) {
        if self.incarnation != theirs.incarnation {
            self.log.clear();
            self.incarnation = theirs.incarnation;
        }
        advance(&mut self.log, &theirs.log, batch);
    }
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) cluster_id: Option<String>,
    pub(crate) epoch: u64,
    pub(crate) seen_epoch: u64,
    pub(crate) databases: BTreeMap<String, Db>,
}

impl Disk {
    pub(crate) fn positions(&self) -> Positions {
        let databases = self.databases.iter();
        databases
            .map(|(name, db)| (name.clone(), db.place()))
            .collect()
    }
}

/// What commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reign {
    pub(crate) epoch: u64,
    pub(crate) frozen: bool,
}

/// One node.
pub(crate) struct Peer {
    pub(crate) me: Identity,
    pub(crate) clock: SkewedClock,
    pub(crate) disk: Disk,
    pub(crate) reign: Option<Reign>,
    pub(crate) deadline: Option<Duration>,
    /// What its process dropped because its primary said so.
    pub(crate) dropped: Positions,
    /// The primary that it follows, and its epoch.
    pub(crate) following: Option<(usize, u64)>,
    /// What each replica has acknowledged to it.
    acknowledged: BTreeMap<usize, Positions>,
    /// An operator has forced it, and it has not led since.
    pub(crate) forced: bool,
    /// Its process runs.
    pub(crate) runs: bool,
    pub(crate) handle: Option<MemberHandle>,
    /// Neither lost nor delayed is anything between it and the lease store otherwise.
    pub(crate) cut_from_store: bool,
}

/// What is behind the lock.
pub(crate) struct Inner {
    pub(crate) rng: StdRng,
    pub(crate) began: Instant,
    pub(crate) peers: Vec<Peer>,
    cut: Vec<Vec<bool>>,
    pub(crate) store_is_down: bool,
    /// Of requests and of answers, the part that is lost; and the longest delay.
    pub(crate) loss: f64,
    pub(crate) delay: Duration,
    /// Whether nodes do what they are asked for.
    pub(crate) faulty: bool,
    terms: Vec<(u64, usize)>,
    /// The last epoch in which somebody could commit.
    pub(crate) last_led: u64,
    /// What is published, as it was last looked at.
    published: Positions,
    /// It may become less: the last primary is one by force.
    may_fall: bool,
    /// Databases that a primary has deleted, and that no primary has had since.
    deleted: BTreeSet<u64>,
    next_incarnation: u64,
    next_transaction: u64,
    has_data: bool,
    violations: Vec<String>,
    trace: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let began = Instant::now();
        let count = rng.random_range(3..=5);
        // With two there is nobody whose post is to be waited for when one of them has gone.
        let candidates = if rng.random_bool(0.25) { 2 } else { count };
        let boot = if rng.random_bool(0.5) { "boot" } else { "" };
        let peers: Vec<Peer> = (0..count)
            .map(|index| new_peer(&mut rng, began, index, (count, candidates), boot))
            .collect();
        World(Arc::new(Mutex::new(Inner {
            rng,
            began,
            cut: vec![vec![false; count]; count],
            peers,
            store_is_down: false,
            loss: 0.0,
            delay: Duration::from_millis(5),
            faulty: false,
            terms: Vec::new(),
            last_led: 0,
            published: Positions::new(),
            may_fall: false,
            deleted: BTreeSet::new(),
            next_incarnation: 0,
            next_transaction: 0,
            has_data: false,
            violations: Vec::new(),
            trace: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().peers.len()
    }

    /// Commits and replication go on until they are stopped.
    pub(crate) async fn go_on(self, store: MemoryStore) {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let published = store.survey().positions;
            let mut world = self.lock();
            world.note_published(published);
            world.tick();
        }
    }
}

fn new_peer(
    rng: &mut StdRng,
    began: Instant,
    index: usize,
    (count, candidates): (usize, usize),
    boot: &str,
) -> Peer {
    // Often as wrong as a clock may be: what is too close shows there.
    let wrong = match rng.random_range(0..4) {
        0 => -0.01,
        1 => 0.01,
        _ => rng.random_range(-0.01..0.01),
    };
    let rate = 1.0 + wrong;
    let offset = Duration::from_secs(rng.random_range(10..1_000_000));
    Peer {
        me: Identity {
            node_id: index as u64 + 1,
            hostname: format!("node{index}"),
            advertise_url: format!("http://node{index}:20202"),
            boot_id: if boot.is_empty() {
                String::new()
            } else {
                format!("{boot}{index}")
            },
            candidate: index < candidates && (index + 1 < count || rng.random_bool(0.7)),
        },
        clock: SkewedClock::new(began, offset, rate),
        disk: Disk::default(),
        reign: None,
        deadline: None,
        dropped: Positions::new(),
        following: None,
        acknowledged: BTreeMap::new(),
        forced: false,
        runs: false,
        handle: None,
        cut_from_store: false,
    }
}

impl Peer {
    /// Whether its applications can commit now.
    pub(crate) fn can_commit(&self) -> bool {
        let leads = self.reign.is_some_and(|reign| !reign.frozen);
        leads && self.deadline.is_none_or(|at| self.clock.now() < at)
    }
}

impl Inner {
    pub(crate) fn say(&mut self, what: impl AsRef<str>) {
        let at = self.began.elapsed().as_secs_f64();
        self.trace.push(format!("{at:9.3} {}", what.as_ref()));
    }

    pub(crate) fn violated(&mut self, what: String) {
        self.say(format!("VIOLATED {what}"));
        self.violations.push(what);
    }

    /// What was violated, and what happened until then.
    pub(crate) fn report(&self) -> Option<String> {
        let first = self.violations.first()?;
        let from = self.trace.len().saturating_sub(120);
        Some(format!("{first}\n{}", self.trace[from..].join("\n")))
    }

    /// Whether the cluster has no data and no node of it has ever been a primary.
    pub(crate) fn nobody_ever_led(&self) -> bool {
        !self.has_data && self.peers.iter().all(|peer| peer.disk.epoch == 0)
    }

    /// Whether something is published that was deleted, or that nobody had acknowledged, and no candidate that was in
    /// sync in the last term of all can do without it (see `docs/leases.md`).
    pub(crate) fn a_loss_is_not_known(&self, last_epoch: u64) -> bool {
        let in_sync = |peer: &&Peer| peer.me.candidate && peer.disk.epoch >= last_epoch;
        self.published.iter().any(|(name, place)| {
            let knows = |peer: &Peer| {
                let dropped = peer.dropped.get(name);
                place.txid == 0
                    || dropped.is_some_and(|dropped| dropped.incarnation == place.incarnation)
            };
            (place.txid == 0 || self.deleted.contains(&place.incarnation))
                && !self.peers.iter().filter(in_sync).any(knows)
        })
    }

    /// What happened.
    pub(crate) fn everything(&self) -> String {
        self.trace.join("\n")
    }

    pub(crate) fn cut(&mut self, one: usize, other: usize, cut: bool) {
        self.cut[one][other] = cut;
        self.cut[other][one] = cut;
    }

    pub(crate) fn reaches(&self, one: usize, other: usize) -> bool {
        !self.cut[one][other] && self.peers[other].runs && self.peers[one].runs
    }

    pub(crate) fn index(&self, node_id: u64) -> usize {
        usize::try_from(node_id).unwrap() - 1
    }

    /// Rule: never can two nodes commit at the same time. Asked whenever one begins to.
    pub(crate) fn begins(&mut self, index: usize, why: &str) {
        let committing: Vec<usize> = (0..self.peers.len())
            .filter(|other| self.peers[*other].can_commit())
            .collect();
        if committing.len() > 1 {
            self.violated(format!("{committing:?} can commit: {index} {why}"));
        }
    }

    /// Rules that hold when a term begins. `published`: what the store has then, after the last primary could write it.
    pub(crate) fn term_begins(&mut self, index: usize, term: &Term, published: Positions) {
        self.say(format!("{index} leads {term:?}, published: {published:?}"));
        self.note_published(published);
        if let Some((last, by)) = self.terms.last().copied()
            && term.epoch <= last
        {
            self.violated(format!(
                "epoch {} of {index} is not greater than {last} of {by}",
                term.epoch
            ));
        }
        let last = self.terms.last().map(|(_, by)| *by);
        self.terms.push((term.epoch, index));
        let peer = &self.peers[index];
        if !peer.me.candidate {
            self.violated(format!("{index} leads and is no candidate"));
        }
        let peer = &self.peers[index];
        if let Some(own) = &peer.disk.cluster_id
            && *own != term.cluster_id
        {
            self.violated(format!("{index} leads another cluster"));
        }
        if term.handed_over {
            self.nothing_is_missing(index, last);
        } else if !self.peers[index].forced {
            self.is_eligible(index);
        }
        if !term.handed_over {
            self.may_fall = self.peers[index].forced;
        }
        self.peers[index].forced = false;
        // What was deleted elsewhere, and is here, lives on.
        let here = self.peers[index].disk.databases.values();
        for db in here {
            self.deleted.remove(&db.incarnation);
        }
    }

    /// Rule: what is published does not become less, unless a primary has deleted it, or is one by force.
    pub(crate) fn note_published(&mut self, published: Positions) {
        let before = std::mem::replace(&mut self.published, published);
        let published = &self.published;
        let less = before.iter().find(|(name, before)| {
            let now = published.get(*name);
            let is_less = now
                .is_none_or(|now| now.incarnation != before.incarnation || now.txid < before.txid);
            is_less && before.txid > 0 && !self.deleted.contains(&before.incarnation)
        });
        if let Some((name, before)) = less
            && !self.may_fall
        {
            let what = format!("{name} is published less than before, {before:?}: {published:?}");
            self.violated(what);
        }
    }

    /// The store was emptied.
    pub(crate) fn nothing_is_published(&mut self) {
        self.published.clear();
    }

    /// Rule: after a planned handoff the new primary has all that the old one had.
    fn nothing_is_missing(&mut self, index: usize, last: Option<usize>) {
        let Some(last) = last.filter(|last| *last != index) else {
            return self.violated(format!("{index} was handed the lease by nobody"));
        };
        if self.peers[last].disk.databases != self.peers[index].disk.databases {
            self.violated(format!("{index} lacks something that {last} had"));
        }
    }

    /// Rules: an empty node does not lead a cluster with data, nor does one that is behind.
    fn is_eligible(&mut self, index: usize) {
        let disk = &self.peers[index].disk;
        let mine = disk.positions();
        let was_in_sync = disk.epoch >= self.last_led;
        if disk.databases.is_empty() && disk.epoch == 0 && self.has_data {
            self.violated(format!("{index} is empty, and leads"));
        }
        let behind = self.published.iter().find(|(name, need)| {
            let here = mine.get(*name);
            let here = here.filter(|have| have.incarnation == need.incarnation);
            let nobody_had_it = need.txid == 0 && was_in_sync;
            here.is_none_or(|have| have.txid < need.txid)
                && !nobody_had_it
                && !self.deleted.contains(&need.incarnation)
        });
        if let Some((name, need)) = behind {
            let what = format!("{index} leads and lacks {need:?} of {name}");
            self.violated(what);
        }
    }

    /// One step of applications and replication.
    fn tick(&mut self) {
        for index in 0..self.peers.len() {
            self.commit(index);
        }
        for index in 0..self.peers.len() {
            if let Some((primary, epoch)) = self.peers[index].following {
                self.replicate(primary, index, epoch);
            }
        }
    }

    /// An application of that node does something, if it can.
    fn commit(&mut self, index: usize) {
        if !self.peers[index].can_commit() || !self.rng.random_bool(0.5) {
            return;
        }
        match self.rng.random_range(0..100) {
            0 => self.create_or_delete(index),
            1..10 if self.peers[index].disk.databases.contains_key("b") => {
                self.commit_to(index, "b")
            }
            _ => self.commit_to(index, "a"),
        }
    }

    fn commit_to(&mut self, index: usize, name: &str) {
        self.has_data = true;
        self.next_transaction += 1;
        let databases = &mut self.peers[index].disk.databases;
        let db = databases.entry(name.to_owned()).or_insert_with(|| {
            self.next_incarnation += 1;
            Db {
                incarnation: self.next_incarnation,
                log: Log::new(),
            }
        });
        db.log.push(self.next_transaction);
    }

    /// An application creates a database, or deletes one.
    pub(crate) fn create_or_delete(&mut self, index: usize) {
        if !self.peers[index].can_commit() {
            return;
        }
        let name = ["b", "c", "d"][self.rng.random_range(0..3)];
        match self.peers[index].disk.databases.remove(name) {
            Some(db) => {
                self.say(format!("{index} deletes {name}, {}", db.incarnation));
                self.deleted.insert(db.incarnation);
            }
            None => {
                self.say(format!("{index} creates {name}"));
                self.commit_to(index, name);
            }
        }
    }

    /// Whether that replica gets what that primary has.
    pub(crate) fn streams(&self, primary: usize, replica: usize) -> bool {
        let reign = self.peers[primary].reign;
        let following = self.peers[replica].following;
        following.is_some_and(|(whom, epoch)| {
            whom == primary && reign.is_some_and(|reign| reign.epoch == epoch)
        }) && self.reaches(primary, replica)
    }

    fn replicate(&mut self, primary: usize, replica: usize, epoch: u64) {
        if !self.streams(primary, replica) {
            self.peers[primary].acknowledged.remove(&replica);
            return;
        }
        // What it got in the last tick is acknowledged in this one.
        if self.peers[replica].me.candidate {
            let positions = self.in_common(primary, replica);
            self.peers[primary].acknowledged.insert(replica, positions);
        }
        if self.rng.random_bool(0.3) {
            return;
        }
        let source = self.peers[primary].disk.clone();
        let (disk, dropped) = {
            let peer = &mut self.peers[replica];
            (&mut peer.disk, &mut peer.dropped)
        };
        disk.cluster_id
            .get_or_insert(source.cluster_id.unwrap_or_default());
        disk.seen_epoch = disk.seen_epoch.max(epoch);
        disk.databases.retain(|name, mine| {
            let theirs = source.databases.get(name);
            let stays = theirs.is_some_and(|theirs| theirs.incarnation == mine.incarnation);
            if !stays {
                dropped.insert(name.clone(), mine.place());
            }
            stays
        });
        for (name, theirs) in &source.databases {
            let mine = disk.databases.entry(name.clone()).or_default();
            mine.advance(theirs, BATCH);
            if dropped
                .get(name)
                .is_some_and(|dropped| dropped.incarnation == mine.incarnation)
            {
                dropped.remove(name);
            }
        }
        if disk.databases == source.databases {
            disk.epoch = disk.epoch.max(epoch);
        }
    }

    /// What a replica has of the primary's history. What it has of another one it acknowledges to nobody.
    fn in_common(&self, primary: usize, replica: usize) -> Positions {
        let theirs = &self.peers[primary].disk.databases;
        let mine = &self.peers[replica].disk;
        let mut positions = mine.positions();
        positions.retain(|name, place| {
            let log = &mine.databases[name].log;
            theirs.get(name).is_some_and(|all| {
                all.incarnation == place.incarnation
                    && log.len() <= all.log.len()
                    && log.last() == log.len().checked_sub(1).map(|at| &all.log[at])
            })
        });
        positions
    }

    /// As [`lease::Node::acknowledged`].
    pub(crate) fn acknowledged(&self, primary: usize) -> Positions {
        let peer = &self.peers[primary];
        let most = |name: &String, incarnation: u64| {
            let acknowledged = peer.acknowledged.values();
            acknowledged
                .filter_map(|positions| positions.get(name))
                .filter(|place| place.incarnation == incarnation)
                .map(|place| place.txid)
                .max()
        };
        let place = |(name, db): (&String, &Db)| {
            let txid = most(name, db.incarnation).unwrap_or(0);
            (name.clone(), Place { txid, ..db.place() })
        };
        peer.disk.databases.iter().map(place).collect()
    }

    /// Whether that replica has acknowledged all that the primary has.
    pub(crate) fn is_drained(&self, primary: usize, replica: usize) -> bool {
        let all = self.peers[primary].disk.positions();
        let same = self.peers[primary].disk.databases == self.peers[replica].disk.databases;
        same && self.peers[primary].acknowledged.get(&replica) == Some(&all)
    }

    pub(crate) fn forget_acknowledgements(&mut self, primary: usize) {
        self.peers[primary].acknowledged.clear();
    }
}

/// Brings a log on, by so many transactions; what is not in theirs goes.
fn advance(mine: &mut Log, theirs: &Log, batch: usize) {
    let same = mine.len() <= theirs.len()
        && mine.last() == mine.len().checked_sub(1).map(|last| &theirs[last]);
    if !same {
        let common = mine.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        mine.truncate(common);
    }
    let from = mine.len();
    let to = theirs.len().min(from + batch);
    mine.extend_from_slice(&theirs[from..to]);
}
