//! What the lanes need of the connection.

use std::sync::Arc;

use ltx::Pos;
use parking_lot::Mutex;
use store::{DbName, Incarnation, Store};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::proto::{ReplicaMessage, replica_message::Message};

/// More than this, over one connection, is not a tail: the primary gets nothing more then, and what only this node has
/// goes aside.
const TAILS_MAX: u64 = 256 * 1024 * 1024;

/// The connection, as the lanes see it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Not bounded by itself: each message answers one of the primary's, of which the credit allows only so many.
    outgoing: mpsc::UnboundedSender<ReplicaMessage>,
    clock: Mutex<Clock>,
    ended: CancellationToken,
    runtime: Handle,
    /// Bytes of tails that may still be sent: they wait in memory.
    tails: Mutex<u64>,
}

impl Link {
    /// Must be called within a Tokio runtime.
    pub(crate) fn new(
        outgoing: mpsc::UnboundedSender<ReplicaMessage>,
        ended: CancellationToken,
    ) -> Arc<Link> {
        Arc::new(Link {
            outgoing,
            clock: Mutex::default(),
            ended,
            runtime: Handle::current(),
            tails: Mutex::new(TAILS_MAX),
        })
    }

    /// Sends a message. If the connection has ended nobody is interested.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.outgoing.send(ReplicaMessage {
            message: Some(message),
        });
    }

    /// Takes bytes from what tails may have in all. `false` if there are not so many left.
    pub(crate) fn take_for_tail(&self, bytes: u64) -> bool {
        let mut left = self.tails.lock();
        let after = left.checked_sub(bytes);
        *left = after.unwrap_or(*left);
        after.is_some()
    }

    /// Tells the clock of an applied transaction.
    pub(crate) fn applied(&self, store: &Store, name: &DbName, incarnation: Incarnation, pos: Pos) {
        let level = self.clock.lock().applied(name, incarnation, pos);
        note_level(store, level);
    }

    /// Tells the clock of a dropped database.
    pub(crate) fn dropped(&self, store: &Store, name: &DbName) {
        let level = self.clock.lock().dropped(name);
        note_level(store, level);
    }

    pub(crate) fn clock(&self) -> &Mutex<Clock> {
        &self.clock
    }

    /// Cancelled when the connection has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

fn note_level(store: &Store, level: Option<i64>) {
    if let Some(primary_ms) = level {
        store.note_primary_clock(primary_ms, true);
    }
}
