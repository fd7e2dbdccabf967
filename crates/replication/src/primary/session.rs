//! One replica's stream, from the hello to its end.

use std::sync::Arc;

use ltx::Pos;
use store::{DbName, Observer, Store};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::{Status, Streaming};

use super::feed::Feed;
use super::replicas::Link;
use super::requests::Heard;
use super::signals::Signals;
use super::tail::Taking;
use super::{Service, greeting, message};
use crate::error::Error;
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message};
use crate::wire::printable;
use crate::{Refusal, RefusalReason};

/// Longest text of a failure that goes to the log, in characters.
const FAILURE_TEXT_MAX: usize = 500;

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
    note_replica(store, link.peer.node_id);
    let hello = greeting::hello(&greeting.ours, &service.config);
    let hello = message(primary_message::Message::Hello(hello));
    if stream.outbox.send(Ok(hello)).await.is_err() {
        return Ok(());
    }
    let mut taking = Taking {
        config: &service.config,
        outbox: &stream.outbox,
        incoming: &mut stream.incoming,
        others: Vec::new(),
    };
    tokio::select! {
        () = service.cancel.cancelled() => return Err(stopping()),
        taken = taking.take(store, &greeting) => taken?,
    }
    let others = taking.others;
    let mut feed = Feed::new(store, link, Arc::clone(&signals), greeting.filter.clone());
    feed.join(&greeting);
    let mut session = Session {
        service,
        signals,
        feed,
        silent_beats: 0,
    };
    for message in others {
        session.receive(message)?;
    }
    session.run(stream).await
}

/// Whom to wait for after a crash of this machine.
fn note_replica(store: &Arc<Store>, node_id: u64) {
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = store.note_replica(node_id) {
            tracing::warn!("a replica is not noted: {}", error.chain());
        }
    });
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
    signals: Arc<Signals>,
    feed: Feed,
    /// Heartbeats in a row at which the replica had been silent for too long.
    silent_beats: u32,
}

impl Session<'_> {
    async fn run(&mut self, stream: &mut Stream) -> Result<(), Error> {
        let service = self.service;
        let superseded = self.feed.link.superseded().clone();
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
                    match self.feed.next_message() {
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
        if self.feed.link.silent_for() <= silence {
            self.silent_beats = 0;
        } else if self.silent_beats == 0 {
            // If it was this process that stood still, what the replica said meanwhile is taken first.
            self.silent_beats = 1;
        } else {
            return Err(Error::Silent(silence));
        }
        self.feed.beat();
        Ok(())
    }

    /// Looks at what happened in the store and in the pumps.
    fn collect(&mut self) -> Result<(), Error> {
        let pending = self.signals.take(self.feed.filter());
        if pending.demoted {
            return Err(demoted());
        }
        self.feed.collect(&pending);
        Ok(())
    }

    fn receive(&mut self, received: ReplicaMessage) -> Result<(), Error> {
        self.feed.link.note_heard();
        match self.feed.receive(received)? {
            Heard::Nothing => {}
            Heard::Applied(name, pos) => self.feed.note_position(&name, pos),
            Heard::Failed {
                name,
                given_up,
                failure,
            } => {
                if given_up {
                    self.feed.forget_source(&name);
                }
                self.log(&name, &failure);
            }
            Heard::Asked(name, history) => {
                self.feed.forget_source(&name);
                self.feed.note_history(&name, history);
                // What it has is in doubt until it is seen to be a part of our history.
                self.feed.link.note_position(&name, Pos::EMPTY);
            }
        }
        Ok(())
    }

    fn log(&self, name: &DbName, failure: &proto::Failure) {
        let text = printable(&failure.text, FAILURE_TEXT_MAX);
        tracing::warn!(
            database = %name, replica = %self.feed.link.peer.hostname, kind = failure.kind().as_str_name(),
            "a replica could not apply what it was sent: {text}"
        );
    }
}
