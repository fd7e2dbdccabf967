//! After a crash of the machine: before applications may write, replicas give back what they have and this node lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store::{Database, Incoming, Store};
use tokio::sync::{Notify, RwLock, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::greeting::Greeting;
use super::{ServerConfig, message};
use crate::error::{Error, Violation};
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message, replica_message};
use crate::wire::{CHUNK_MAX, DATABASES_MAX, to_position};

/// A replica that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// The time after the start of a primary in which it takes transactions from replicas. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TailWindow(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// `None`: over.
    awaited: Mutex<Option<HashSet<u64>>>,
    changed: Notify,
    /// Shared while a transaction is taken in.
    taking: RwLock<()>,
}

impl TailWindow {
    /// Opens it, for replicas with these node ids (and whoever else comes).
    pub fn open(&self, awaited: impl IntoIterator<Item = u64>) {
        *self.0.awaited.lock() = Some(awaited.into_iter().collect());
    }

    /// Waits until all of them were there, or for `limit`, and closes it. How many were not there.
    pub async fn close_after(&self, limit: Duration) -> usize {
        let all_came = async {
            loop {
                let mut changed = std::pin::pin!(self.0.changed.notified());
                changed.as_mut().enable();
                if self.0.awaited.lock().as_ref().is_none_or(HashSet::is_empty) {
                    return;
                }
                changed.await;
            }
        };
        // Who is missing is counted below.
        let _ = timeout(limit, all_came).await;
        let left = self.0.awaited.lock().take();
        // What has begun is finished.
        drop(self.0.taking.write().await);
        left.map_or(0, |left| left.len())
    }

    fn is_open(&self) -> bool {
        self.0.awaited.lock().is_some()
    }

    fn came(&self, node_id: u64) {
        if let Some(awaited) = &mut *self.0.awaited.lock() {
            awaited.remove(&node_id);
        }
        self.0.changed.notify_waiters();
    }
}

/// One replica, while tails are taken from it.
pub(super) struct Taking<'a> {
    pub(super) config: &'a ServerConfig,
    pub(super) outbox: &'a mpsc::Sender<Result<PrimaryMessage, Status>>,
    pub(super) incoming: &'a mut Streaming<ReplicaMessage>,
    /// What else came meanwhile, for the session.
    pub(super) others: Vec<ReplicaMessage>,
}

impl Taking<'_> {
    /// Takes what the replica has more of. The hello has been sent.
    pub(super) async fn take(&mut self, store: &Store, greeting: &Greeting) -> Result<(), Error> {
        let window = &self.config.tails;
        if !window.is_open() {
            return Ok(());
        }
        for theirs in &greeting.databases {
            let Some(ours) = store.database(&theirs.name) else {
                continue;
            };
            let same = ours.incarnation() == theirs.incarnation;
            if !same || theirs.busy || theirs.pos.txid <= ours.pos().txid {
                continue;
            }
            self.say(primary_message::Message::Pull(proto::Pull {
                database: theirs.name.to_string(),
                position: to_position(ours.pos()),
            }))
            .await?;
            self.receive(ours).await?;
        }
        window.came(greeting.peer.node_id);
        Ok(())
    }

    async fn say(&self, say: primary_message::Message) -> Result<(), Error> {
        let sent = self.outbox.send(Ok(message(say))).await;
        sent.map_err(|_| Error::Closed)
    }

    /// The next message. Shows the replica meanwhile that this node is alive.
    async fn next(&mut self) -> Result<ReplicaMessage, Error> {
        let mut silent = Duration::ZERO;
        loop {
            if let Ok(received) = timeout(self.config.pace(), self.incoming.message()).await {
                return received?.ok_or(Error::Closed);
            }
            silent += self.config.pace();
            if silent > SILENCE {
                return Err(Error::Silent(SILENCE));
            }
            // A page of a heartbeat that goes on: it says nothing of the positions.
            self.say(primary_message::Message::Heartbeat(proto::Heartbeat {
                more_databases: true,
                ..Default::default()
            }))
            .await?;
        }
    }

    /// The next message of the tail of `database`; others are put aside.
    async fn next_tail(&mut self, database: &Database) -> Result<proto::Tail, Error> {
        loop {
            let received = self.next().await?;
            match received.message {
                Some(replica_message::Message::Tail(tail)) => {
                    let asked_for = tail.database == database.name().as_str();
                    if tail.data.len() > CHUNK_MAX || !asked_for {
                        return Err(Violation::Unexpected("a tail that was not asked for").into());
                    }
                    return Ok(tail);
                }
                // Of databases that the replica was busy with when it came.
                Some(_) if self.others.len() < DATABASES_MAX => self.others.push(received),
                Some(_) => {
                    return Err(Violation::TooMany {
                        what: "messages within a tail",
                        max: DATABASES_MAX,
                    }
                    .into());
                }
                None => return Err(Violation::Empty.into()),
            }
        }
    }

    /// The files of one database. One that cannot be taken in is the end of it: what follows does not fit either.
    async fn receive(&mut self, database: Arc<Database>) -> Result<(), Error> {
        let before = database.pos();
        let mut collecting: Option<Incoming> = None;
        let mut usable = true;
        loop {
            let tail = self.next_tail(&database).await?;
            if tail.end {
                break;
            }
            if !usable {
                continue;
            }
            let mut file = collecting.take().unwrap_or_else(|| database.incoming());
            file.write(&tail.data)?;
            if tail.last {
                usable = self.take_in(&database, file).await;
            } else {
                collecting = Some(file);
            }
        }
        self.settle(&database).await;
        let now = database.pos();
        if now == before {
            tracing::warn!(database = %database.name(), pos = %now, "a replica is ahead, on another history");
        } else {
            tracing::info!(database = %database.name(), from = %before, to = %now, "took from a replica what was lost here");
        }
        Ok(())
    }

    /// Also after an error: what was taken in is in the log.
    async fn settle(&self, database: &Arc<Database>) {
        let window = &self.config.tails;
        let _taking = window.0.taking.read().await;
        // Else it is done when the mount is there.
        if window.is_open() {
            let db = Arc::clone(database);
            if let Ok(Err(error)) = spawn_blocking(move || db.settle_tail()).await {
                tracing::error!(database = %database.name(), "what was lost is not recovered: {}", error.chain());
            }
        }
    }

    async fn take_in(&self, database: &Arc<Database>, file: Incoming) -> bool {
        let window = &self.config.tails;
        let _taking = window.0.taking.read().await;
        if !window.is_open() {
            return false;
        }
        let db = Arc::clone(database);
        match spawn_blocking(move || db.take_tail(file)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::error!(database = %database.name(), "what a replica has more of is not usable: {}", error.chain());
                false
            }
            Err(_) => false,
        }
    }
}
