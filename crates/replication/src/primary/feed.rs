//! What goes to one replica: looks into the store, reads what is to be sent, and puts it into turns.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ltx::{Pos, TxId};
use store::{
    Database, DbName, Epoch, History, Incarnation, LtxFile, NextLtx, Parting, SnapshotReason, Store,
};

use super::greeting::Greeting;
use super::outbound::{Outbound, Turn};
use super::replicas::{Entered, unix_ms};
use super::requests::{self, Heard};
use super::signals::{Pending, Signals};
use super::source::{Item, Pulled, Source};
use super::{message, pump};
use crate::error::Error;
use crate::hello::Filter;
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message::Message};
use crate::wire::{PAGE_MAX, to_history, to_state};

/// Files and snapshots that are read from disk for one replica at the same time.
const SLOTS: usize = 8;

/// After so many failures in a row to read an LTX file a snapshot is sent instead.
const UNREADABLE: u32 = 2;

/// Waits after the first, the second, ... failure to read a database.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Where the replica's history parted from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fork {
    /// It did not, as far as is known.
    None,
    /// After this TXID.
    After(TxId),
    /// It did, and where is not known.
    Somewhere,
}

/// What goes to one replica.
pub(super) struct Feed {
    store: Arc<Store>,
    signals: Arc<Signals>,
    filter: Filter,
    /// The replica, as status displays see it.
    pub(super) link: Entered,
    pub(super) outbound: Outbound,
    sources: HashMap<DbName, Source>,
    /// The terms that wrote to the replica's copies, as it says.
    theirs: HashMap<DbName, History>,
    /// The last term that it was told of, of each database.
    told: HashMap<DbName, Epoch>,
    /// How many of the sources read from disk.
    slots_taken: usize,
    /// Goes before chunks.
    control: VecDeque<PrimaryMessage>,
}

impl Feed {
    pub(super) fn new(
        store: &Arc<Store>,
        link: Entered,
        signals: Arc<Signals>,
        filter: Filter,
    ) -> Feed {
        Feed {
            store: Arc::clone(store),
            signals,
            filter,
            link,
            outbound: Outbound::default(),
            sources: HashMap::new(),
            theirs: HashMap::new(),
            told: HashMap::new(),
            slots_taken: 0,
            control: VecDeque::new(),
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Takes a message of the replica.
    pub(super) fn receive(&mut self, received: ReplicaMessage) -> Result<Heard, Error> {
        requests::receive(&mut self.outbound, &self.filter, received)
    }

    /// Sends a message before everything that is not sent yet.
    pub(super) fn say(&mut self, say: Message) {
        self.control.push_back(message(say));
    }

    /// Compares what the replica has with what there is.
    pub(super) fn join(&mut self, greeting: &Greeting) {
        for theirs in &greeting.databases {
            self.outbound.join(theirs);
            self.note_history(&theirs.name, theirs.history.clone());
        }
        for ours in self.store.databases() {
            let pos = ours.pos();
            if self.filter.passes(ours.name()) && pos != Pos::EMPTY {
                self.outbound.changed(ours.name(), ours.incarnation());
                self.outbound.await_catch_up(ours.name(), pos.txid);
            }
        }
        for theirs in &greeting.databases {
            self.look_whether_it_exists(&theirs.name);
            if theirs.busy {
                self.outbound.forget_catch_up(&theirs.name);
            }
        }
    }

    /// The replica has said which terms wrote to its copy.
    pub(super) fn note_history(&mut self, name: &DbName, history: History) {
        self.told.remove(name);
        self.theirs.insert(name.clone(), history);
    }

    /// The replica has applied a database up to there.
    pub(super) fn note_position(&self, name: &DbName, pos: Pos) {
        if self.link.note_position(name, pos)
            && let Some(database) = self.store.database(name)
        {
            database.note_replicated();
        }
    }

    /// Our history, if the replica may not know it as it is now.
    fn history_to_tell(&mut self, database: &Database) -> Vec<proto::Chapter> {
        // With each transaction: only what is new is worth a copy.
        let last = database.last_term();
        if self.told.get(database.name()) == Some(&last) {
            return Vec::new();
        }
        let history = database.history();
        self.told.insert(database.name().clone(), history.epoch());
        to_history(&history)
    }

    /// Whether the replica has transactions that are none of our history, and after which TXID.
    fn parting(&self, database: &Database, pos: Pos, reason: SnapshotReason) -> Fork {
        let theirs = self.theirs.get(database.name());
        // The position first: a history that has gone on meanwhile is none that the replica could have.
        let ours = database.pos();
        let parting = theirs.map_or(Parting::Unknown, |theirs| {
            database.history().part_from(ours, theirs, pos)
        });
        match parting {
            Parting::Forked(common) => Fork::After(common),
            _ if reason.is_other_history() => Fork::Somewhere,
            _ => Fork::None,
        }
    }

    /// Queues a heartbeat.
    pub(super) fn beat(&mut self) {
        if self
            .control
            .iter()
            .any(|queued| matches!(queued.message, Some(Message::Heartbeat(_))))
        {
            // The network is slow; one that waits is enough.
            return;
        }
        let primary_ms = unix_ms();
        let states: Vec<_> = self
            .store
            .databases()
            .iter()
            .filter(|database| self.filter.passes(database.name()))
            .map(|database| to_state(database, false))
            .collect();
        let mut pages: Vec<_> = states.chunks(PAGE_MAX).map(<[_]>::to_vec).collect();
        let last = pages.pop().unwrap_or_default();
        for databases in pages {
            self.say(Message::Heartbeat(proto::Heartbeat {
                primary_ms,
                databases,
                more_databases: true,
            }));
        }
        self.say(Message::Heartbeat(proto::Heartbeat {
            primary_ms,
            databases: last,
            more_databases: false,
        }));
    }

    /// Looks at what happened in the store and in the pumps.
    pub(super) fn collect(&mut self, pending: &Pending) {
        for name in &pending.changed {
            self.look_whether_it_exists(name);
        }
        for name in &pending.produced {
            self.outbound.resume(name);
        }
        for name in &pending.retry {
            self.outbound.retry(name);
        }
    }

    fn look_whether_it_exists(&mut self, name: &DbName) {
        match self.store.database(name) {
            Some(database) if database.pos() != Pos::EMPTY => {
                let (given_up, abort) = self.outbound.changed(name, database.incarnation());
                if given_up {
                    self.forget_source(name);
                }
                self.control.extend(abort);
            }
            _ => self.gone(name),
        }
    }

    fn gone(&mut self, name: &DbName) {
        self.forget_source(name);
        self.control.extend(self.outbound.gone(name));
        self.link.note_position(name, Pos::EMPTY);
    }

    /// What is on its way of this database is not sent any further.
    pub(super) fn forget_source(&mut self, name: &DbName) {
        if self
            .sources
            .remove(name)
            .is_some_and(|source| source.takes_slot())
        {
            self.slots_taken -= 1;
            self.outbound.slot_freed();
        }
    }

    /// What to send next, or None until something happens.
    pub(super) fn next_message(&mut self) -> Option<PrimaryMessage> {
        loop {
            if let Some(next) = self.control.pop_front() {
                return Some(next);
            }
            let Some(turn) = self.outbound.next() else {
                break;
            };
            let chunk = match turn {
                Turn::Look(name) => self.look(&name),
                Turn::Pull(name) => self.pull(&name),
            };
            // What must go before it was sent with an earlier turn: a database does one thing at a time.
            if chunk.is_some() {
                return chunk;
            }
        }
        self.outbound
            .take_ready()
            .then(|| message(Message::Ready(proto::Ready {})))
    }

    /// Finds what the replica lacks of a database. If that is in memory, its first chunk.
    fn look(&mut self, name: &DbName) -> Option<PrimaryMessage> {
        let database = match self.store.database(name) {
            Some(database) if database.pos() != Pos::EMPTY => database,
            _ => {
                self.gone(name);
                return None;
            }
        };
        let incarnation = database.incarnation();
        let pos = self.outbound.place(name, incarnation);
        let next = database.next_after(pos);
        if !matches!(next, NextLtx::Snapshot(_)) && self.outbound.is_fresh(name) {
            self.note_position(name, pos);
        }
        match next {
            NextLtx::UpToDate => self.outbound.up_to_date(name),
            NextLtx::File(_) if self.outbound.asked_for_all(name) => {
                let why = "it asks for everything";
                self.begin_snapshot(name, database, pos, Fork::None, why);
            }
            NextLtx::File(file) if self.outbound.failures(name) < UNREADABLE => {
                return self.begin_file(&database, incarnation, file);
            }
            NextLtx::File(_) => {
                self.begin_snapshot(
                    name,
                    database,
                    pos,
                    Fork::None,
                    "the LTX file that follows cannot be read",
                );
            }
            NextLtx::Snapshot(reason) => {
                let fork = self.parting(&database, pos, reason);
                self.begin_snapshot(name, database, pos, fork, &reason.to_string());
            }
        }
        None
    }

    fn begin_snapshot(
        &mut self,
        name: &DbName,
        database: Arc<Database>,
        pos: Pos,
        fork: Fork,
        reason: &str,
    ) {
        if self.slots_taken >= SLOTS {
            self.outbound.await_slot(name);
            return;
        }
        tracing::info!(
            database = %name, replica = %self.link.peer.hostname, position = %pos,
            ?fork, "sending a snapshot: {reason}"
        );
        let history = self.history_to_tell(&database);
        let source = pump::snapshot(database, fork, history, &self.signals);
        self.outbound.opening(name);
        self.keep_source(name, source);
    }

    fn begin_file(
        &mut self,
        database: &Database,
        incarnation: Incarnation,
        file: LtxFile,
    ) -> Option<PrimaryMessage> {
        let name = database.name();
        let bytes = file.bytes();
        if bytes.is_none() && self.slots_taken >= SLOTS {
            self.outbound.await_slot(name);
            return None;
        }
        let head = proto::TransferHead {
            incarnation: incarnation.get(),
            min_txid: file.min_txid.get(),
            max_txid: file.max_txid.get(),
            pre_apply_checksum: file.pre_apply_checksum.get(),
            post_apply_checksum: file.post_apply_checksum.get(),
            size: bytes.as_ref().map_or(file.size, |bytes| bytes.len() as u64),
            snapshot: file.min_txid.get() == 1,
            replaces_history: false,
            common_txid: 0,
            history: self.history_to_tell(database),
        };
        self.outbound.begin(name, head, file.post_pos());
        let source = match bytes {
            Some(bytes) => Source::Memory(bytes),
            None => pump::file(name, file, &self.signals),
        };
        self.keep_source(name, source);
        self.pull(name)
    }

    fn keep_source(&mut self, name: &DbName, source: Source) {
        self.forget_source(name);
        self.slots_taken += usize::from(source.takes_slot());
        self.sources.insert(name.clone(), source);
    }

    /// Takes the next piece of what is on its way.
    fn pull(&mut self, name: &DbName) -> Option<PrimaryMessage> {
        loop {
            match self.sources.get_mut(name)?.pull() {
                Pulled::Nothing => return None,
                Pulled::Item(Item::Head(head, post)) => self.outbound.begin(name, head, post),
                Pulled::Item(Item::Piece { data, last }) => {
                    if last {
                        self.forget_source(name);
                    }
                    return self.outbound.chunk(name, data, last);
                }
                Pulled::Broken(reason) => {
                    self.broken(name, &reason);
                    return None;
                }
            }
        }
    }

    /// Gives a database up for a while.
    fn broken(&mut self, name: &DbName, reason: &str) {
        self.forget_source(name);
        let (failures, abort) = self.outbound.broken(name);
        self.control.extend(abort);
        let delay = RETRY_FIRST
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(RETRY_MAX);
        tracing::warn!(
            database = %name, replica = %self.link.peer.hostname, ?delay,
            "cannot be sent to a replica for now: {reason}"
        );
        let signals = Arc::downgrade(&self.signals);
        let name = name.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(signals) = signals.upgrade() {
                signals.retry(&name);
            }
        });
    }
}
