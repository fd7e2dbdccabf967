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

use super::greeting::{self, Greeting};
use super::message;
use crate::error::{Error, Violation};
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message, replica_message};
use crate::wire::{CHUNK_MAX, to_position};

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

/// Takes from a replica what it has more of. The hello has been sent.
pub(super) async fn take(
    window: &TailWindow,
    store: &Store,
    greeting: &Greeting,
    outbox: &mpsc::Sender<Result<PrimaryMessage, Status>>,
    incoming: &mut Streaming<ReplicaMessage>,
) -> Result<(), Error> {
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
        let pull = primary_message::Message::Pull(proto::Pull {
            database: theirs.name.to_string(),
            position: to_position(ours.pos()),
        });
        if outbox.send(Ok(message(pull))).await.is_err() {
            return Err(Error::Closed);
        }
        receive(window, ours, incoming).await?;
    }
    window.came(greeting.peer.node_id);
    Ok(())
}

/// The files of one database. One that cannot be taken in is the end of it: what follows does not fit either.
async fn receive(
    window: &TailWindow,
    database: Arc<Database>,
    incoming: &mut Streaming<ReplicaMessage>,
) -> Result<(), Error> {
    let before = database.pos();
    let mut collecting: Option<Incoming> = None;
    let mut usable = true;
    loop {
        let received = timeout(SILENCE, incoming.message())
            .await
            .unwrap_or(Err(Status::deadline_exceeded("silence")))?
            .ok_or(Error::Closed)?;
        let tail = match received.message.ok_or(Violation::Empty)? {
            replica_message::Message::Tail(tail) => tail,
            other => return Err(greeting::unexpected(&other).into()),
        };
        if tail.data.len() > CHUNK_MAX || tail.database != database.name().as_str() {
            return Err(Violation::Unexpected("a tail that was not asked for").into());
        }
        if tail.end {
            break;
        }
        if !usable {
            continue;
        }
        let mut file = collecting.take().unwrap_or_else(|| database.incoming());
        file.write(&tail.data)?;
        if !tail.last {
            collecting = Some(file);
            continue;
        }
        let _taking = window.0.taking.read().await;
        if !window.is_open() {
            usable = false;
            continue;
        }
        let db = Arc::clone(&database);
        let taken = spawn_blocking(move || db.take_tail(file)).await;
        if let Ok(Err(error)) = taken {
            tracing::error!(database = %database.name(), "what a replica has more of is not usable: {}", error.chain());
            usable = false;
        }
    }
    let now = database.pos();
    if now == before {
        tracing::warn!(database = %database.name(), pos = %now, "a replica is ahead, on another history");
    } else {
        tracing::info!(database = %database.name(), from = %before, to = %now, "took from a replica what was lost here");
    }
    Ok(())
}
