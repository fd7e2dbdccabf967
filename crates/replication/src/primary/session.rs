//! One replica's stream, from the hello to its end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ltx::Pos;
use store::{Database, DbName, Incarnation, LtxFile, NextLtx, Observer, Store};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::{Status, Streaming};

use super::greeting::{self, Greeting};
use super::outbound::{Outbound, Turn};
use super::replicas::{Entered, Link, unix_ms};
use super::signals::Signals;
use super::source::{Item, Pulled, Source};
use super::{Service, message, pump};
use crate::error::{Error, Violation};
use crate::hello::Filter;
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message, replica_message};
use crate::wire::{PAGE_MAX, position, printable, to_state};
use crate::{Refusal, RefusalReason};

/// Files and snapshots that are read from disk for one replica at the same time.
const SLOTS: usize = 8;

/// Longest text of a failure that goes to the log, in characters.
const FAILURE_TEXT_MAX: usize = 500;

/// After so many failures in a row to read an LTX file a snapshot is sent instead.
const UNREADABLE: u32 = 2;

/// Waits after the first, the second, ... failure to read a database.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The two halves of a stream, and where the other end is.
pub(super) struct Stream {
    pub(super) incoming: Streaming<ReplicaMessage>,
    pub(super) outbox: mpsc::Sender<Result<PrimaryMessage, Status>>,
    pub(super) address: String,
}

/// Serves one replica until the stream ends.
pub(super) async fn serve(service: Service, mut stream: Stream) {
    let address = stream.address.clone();
    let Err(error) = run(&service, &mut stream).await else {
        return;
    };
    let last = match &error {
        Error::Refusing(refusal) => {
            if refusal.is_lasting() {
                tracing::warn!(%address, reason = ?refusal.reason, "replica refused: {refusal}");
            } else {
                tracing::info!(%address, reason = ?refusal.reason, "replica sent away: {refusal}");
            }
            Ok(message(primary_message::Message::Refusal(
                refusal.clone().into(),
            )))
        }
        Error::Violation(_) => {
            tracing::warn!(%address, "replica disconnected: {error}");
            Err(error.status())
        }
        _ => {
            tracing::info!(%address, "replica disconnected: {}", error.chain());
            Err(error.status())
        }
    };
    // Nobody may be there to take it, and nothing depends on it.
    let _ = tokio::time::timeout(service.config.silence(), stream.outbox.send(last)).await;
}

/// Ends with the reason; `Ok` when the replica has left.
async fn run(service: &Service, stream: &mut Stream) -> Result<(), Error> {
    let store = &service.store;
    let greeting = tokio::select! {
        () = service.cancel.cancelled() => return Err(stopping()),
        greeting = greeting::receive(&mut stream.incoming, store, &service.config) => greeting?,
    };
    let epoch = greeting.ours.epoch;
    let link = Link::new(greeting.peer.clone(), stream.address.clone());
    let link = service.replicas.enter(link, service.config.alive())?;
    // From here on nothing is missed: what was before is looked at below.
    let signals = Arc::new(Signals::new(epoch));
    let observer: Arc<dyn Observer> = Arc::clone(&signals) as Arc<dyn Observer>;
    store.observe(&observer);
    if greeting::own_epoch(store)? != epoch {
        return Err(demoted());
    }
    tracing::info!(
        address = %stream.address,
        hostname = %link.peer.hostname,
        node = format_args!("{:016x}", link.peer.node_id),
        databases = greeting.databases.len(),
        "replica connected"
    );
    let hello = greeting::hello(&greeting.ours, &service.config);
    let mut session = Session::new(service, link, signals, greeting.filter.clone());
    session
        .control
        .push_back(message(primary_message::Message::Hello(hello)));
    session.join(&greeting);
    session.run(stream).await
}

fn stopping() -> Error {
    Error::Refusing(Refusal::new(RefusalReason::Stopping, "the primary stops"))
}

fn demoted() -> Error {
    Error::Refusing(Refusal::new(
        RefusalReason::NotPrimary,
        "this node is no longer the primary",
    ))
}

struct Session<'a> {
    service: &'a Service,
    link: Entered,
    signals: Arc<Signals>,
    filter: Filter,
    outbound: Outbound,
    sources: HashMap<DbName, Source>,
    /// How many of the sources read from disk.
    slots_taken: usize,
    /// Goes before chunks.
    control: VecDeque<PrimaryMessage>,
}

impl<'a> Session<'a> {
    fn new(
        service: &'a Service,
        link: Entered,
        signals: Arc<Signals>,
        filter: Filter,
    ) -> Session<'a> {
        Session {
            service,
            link,
            signals,
            filter,
            outbound: Outbound::default(),
            sources: HashMap::new(),
            slots_taken: 0,
            control: VecDeque::new(),
        }
    }

    fn store(&self) -> &'a Arc<Store> {
        &self.service.store
    }

    /// Compares what the replica has with what there is.
    fn join(&mut self, greeting: &Greeting) {
        for theirs in &greeting.databases {
            self.outbound.join(theirs);
        }
        for ours in self.store().databases() {
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

    async fn run(&mut self, stream: &mut Stream) -> Result<(), Error> {
        let service = self.service;
        let superseded = self.link.superseded().clone();
        let signals = Arc::clone(&self.signals);
        let outbox = stream.outbox.clone();
        let mut heartbeat = tokio::time::interval(service.config.pace());
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cancelled = std::pin::pin!(service.cancel.cancelled());
        let mut replaced = std::pin::pin!(superseded.cancelled());
        let mut nothing_to_send = false;
        loop {
            tokio::select! {
                () = &mut cancelled => return Err(stopping()),
                () = &mut replaced => {
                    let refusal = Refusal::new(RefusalReason::Superseded, "another connection of this node took over");
                    return Err(Error::Refusing(refusal));
                }
                received = stream.incoming.message() => match received? {
                    Some(received) => self.receive(received)?,
                    None => return Ok(()),
                },
                () = signals.wait() => self.collect()?,
                _ = heartbeat.tick() => self.beat()?,
                permit = outbox.reserve(), if !nothing_to_send => {
                    // Only a receiver that is gone closes it.
                    let Ok(permit) = permit else { return Ok(()) };
                    match self.next_message() {
                        Some(next) => permit.send(Ok(next)),
                        None => nothing_to_send = true,
                    }
                    continue;
                }
            }
            nothing_to_send = false;
        }
    }

    /// Queues a heartbeat, and ends the session if the replica has been silent for too long.
    fn beat(&mut self) -> Result<(), Error> {
        let silence = self.service.config.silence();
        if self.link.silent_for() > silence {
            return Err(Error::Silent(silence));
        }
        if self
            .control
            .iter()
            .any(|queued| matches!(queued.message, Some(primary_message::Message::Heartbeat(_))))
        {
            // The network is slow; one that waits is enough.
            return Ok(());
        }
        let primary_ms = unix_ms();
        let states: Vec<_> = self
            .store()
            .databases()
            .iter()
            .filter(|database| self.filter.passes(database.name()))
            .map(|database| to_state(database, false))
            .collect();
        let mut pages: Vec<_> = states.chunks(PAGE_MAX).map(<[_]>::to_vec).collect();
        let last = pages.pop().unwrap_or_default();
        for databases in pages {
            let page = proto::Heartbeat {
                primary_ms,
                databases,
                more_databases: true,
            };
            self.control
                .push_back(message(primary_message::Message::Heartbeat(page)));
        }
        let page = proto::Heartbeat {
            primary_ms,
            databases: last,
            more_databases: false,
        };
        self.control
            .push_back(message(primary_message::Message::Heartbeat(page)));
        Ok(())
    }

    /// Looks at what happened in the store and in the pumps.
    fn collect(&mut self) -> Result<(), Error> {
        let pending = self.signals.take(&self.filter);
        if pending.demoted {
            return Err(demoted());
        }
        for name in &pending.changed {
            self.look_whether_it_exists(name);
        }
        for name in &pending.produced {
            self.outbound.resume(name);
        }
        for name in &pending.retry {
            self.outbound.retry(name);
        }
        Ok(())
    }

    fn look_whether_it_exists(&mut self, name: &DbName) {
        match self.store().database(name) {
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

    fn forget_source(&mut self, name: &DbName) {
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
    fn next_message(&mut self) -> Option<PrimaryMessage> {
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
            .then(|| message(primary_message::Message::Ready(proto::Ready {})))
    }

    /// Finds what the replica lacks of a database. If that is in memory, its first chunk.
    fn look(&mut self, name: &DbName) -> Option<PrimaryMessage> {
        let database = match self.store().database(name) {
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
            self.link.note_position(name, pos);
        }
        match next {
            NextLtx::UpToDate => self.outbound.up_to_date(name),
            NextLtx::File(file) if self.outbound.failures(name) < UNREADABLE => {
                return self.begin_file(name, incarnation, file);
            }
            NextLtx::File(_) => {
                self.begin_snapshot(
                    name,
                    database,
                    pos,
                    "the LTX file that follows cannot be read",
                );
            }
            NextLtx::Snapshot(reason) => {
                self.begin_snapshot(name, database, pos, &reason.to_string());
            }
        }
        None
    }

    fn begin_snapshot(&mut self, name: &DbName, database: Arc<Database>, pos: Pos, reason: &str) {
        if self.slots_taken >= SLOTS {
            self.outbound.await_slot(name);
            return;
        }
        tracing::info!(
            database = %name, replica = %self.link.peer.hostname, position = %pos,
            "sending a snapshot: {reason}"
        );
        let source = pump::snapshot(database, &self.signals);
        self.outbound.opening(name);
        self.keep_source(name, source);
    }

    fn begin_file(
        &mut self,
        name: &DbName,
        incarnation: Incarnation,
        file: LtxFile,
    ) -> Option<PrimaryMessage> {
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

    fn receive(&mut self, received: ReplicaMessage) -> Result<(), Error> {
        use replica_message::Message;
        self.link.note_heard();
        match received.message.ok_or(Violation::Empty)? {
            Message::Ack(ack) => self.acked(&ack)?,
            Message::Failure(failure) => self.failed(&failure)?,
            Message::Ask(ask) => self.asked(&ask)?,
            Message::HeartbeatEcho(_) => {}
            Message::Refusal(refusal) => {
                return Err(Error::Refused {
                    peer: "the replica",
                    refusal: refusal.into(),
                });
            }
            other @ (Message::Hello(_) | Message::HelloDatabases(_)) => {
                return Err(greeting::unexpected(&other).into());
            }
        }
        Ok(())
    }

    fn acked(&mut self, ack: &proto::Ack) -> Result<(), Violation> {
        let name = self.wanted(&ack.database)?;
        let applied = ack.applied.is_some().then(|| position(ack.applied));
        self.outbound
            .acked(&name, ack.round, ack.consumed, applied)?;
        if let Some(pos) = applied {
            self.link.note_position(&name, pos);
        }
        Ok(())
    }

    fn failed(&mut self, failure: &proto::Failure) -> Result<(), Violation> {
        use proto::failure::Kind;
        let name = self.wanted(&failure.database)?;
        let soon = failure.kind() == Kind::Conflict;
        if self.outbound.failed(&name, failure.round, soon)? {
            self.forget_source(&name);
        }
        let text = printable(&failure.text, FAILURE_TEXT_MAX);
        tracing::warn!(
            database = %name, replica = %self.link.peer.hostname, kind = failure.kind().as_str_name(),
            "a replica could not apply what it was sent: {text}"
        );
        Ok(())
    }

    fn asked(&mut self, ask: &proto::Ask) -> Result<(), Violation> {
        let name = self.wanted(&ask.database)?;
        let pos = position(ask.position);
        if self
            .outbound
            .asked(&name, ask.round, Incarnation::new(ask.incarnation), pos)?
        {
            self.forget_source(&name);
            // What it has is in doubt until it is seen to be a part of our history.
            self.link.note_position(&name, Pos::EMPTY);
        }
        Ok(())
    }

    /// The name of a database in the filter of the replica.
    fn wanted(&self, name: &str) -> Result<DbName, Violation> {
        let name = DbName::new(name)?;
        if !self.filter.passes(&name) {
            let reason = "not in the filter of the replica".to_owned();
            return Err(Violation::Transfer { db: name, reason });
        }
        Ok(name)
    }
}
