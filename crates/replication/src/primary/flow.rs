//! One database on its way to one replica.

use bytes::Bytes;
use ltx::Pos;
use store::{DbName, Incarnation};

use crate::proto;
use crate::wire::cost;

/// What is being done for a database.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing to send that we know of.
    Idle,
    /// It has to be looked at: there may be something to send.
    Look,
    /// Something has to be read from disk, and too much of that is going on already.
    AwaitsSlot,
    /// A snapshot is being taken; what it is will be known with its first piece.
    Opening,
    /// An LTX file is on its way.
    Sending(Transfer),
    /// The replica could not take it. It will ask.
    Held,
    /// We could not read it. A timer runs.
    Paused,
    /// There is no such database.
    Gone,
}

/// An LTX file on its way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) id: u64,
    offset: u64,
    head: Option<proto::TransferHead>,
    post: Pos,
}

impl Transfer {
    pub(super) fn new(id: u64, head: proto::TransferHead, post: Pos) -> Transfer {
        Transfer {
            id,
            offset: 0,
            head: Some(head),
            post,
        }
    }
}

/// One database on its way to one replica.
#[derive(Debug)]
pub(super) struct Flow {
    /// Of the replica's last request.
    pub(super) round: u64,
    pub(super) incarnation: Incarnation,
    /// Where the replica will be once it has applied everything that was sent.
    pub(super) pos: Pos,
    pub(super) phase: Phase,
    /// Whether it is in the queue of turns.
    pub(super) queued: bool,
    /// Whether it is in the queue for a slot; perhaps it needs none any more.
    pub(super) in_line: bool,
    /// How often in a row we could not read it.
    pub(super) failures: u32,
    /// Credit used and given back in this round.
    sent: u64,
    consumed: u64,
}

impl Flow {
    pub(super) fn new(round: u64, incarnation: Incarnation, pos: Pos, phase: Phase) -> Flow {
        Flow {
            round,
            incarnation,
            pos,
            phase,
            queued: false,
            in_line: false,
            failures: 0,
            sent: 0,
            consumed: 0,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.consumed
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The replica has consumed as much of this round. False if that is more than was sent.
    #[must_use]
    pub(super) fn give_back(&mut self, consumed: u64) -> bool {
        if consumed > self.sent {
            return false;
        }
        self.consumed = self.consumed.max(consumed);
        true
    }

    /// The next piece of the file on its way. None if none is, which the caller must not let happen.
    pub(super) fn chunk(&mut self, name: &DbName, data: Bytes, last: bool) -> Option<proto::Chunk> {
        let Phase::Sending(transfer) = &mut self.phase else {
            return None;
        };
        let chunk = proto::Chunk {
            database: name.to_string(),
            round: self.round,
            transfer: transfer.id,
            offset: transfer.offset,
            last,
            head: transfer.head.take(),
            data,
        };
        transfer.offset += chunk.data.len() as u64;
        self.sent += cost(chunk.data.len());
        if last {
            self.pos = transfer.post;
            self.failures = 0;
            self.phase = Phase::Look;
        }
        Some(chunk)
    }

    /// Gives up what is on its way. The message says so, if the replica has seen any of it.
    pub(super) fn abort(&mut self, name: &DbName) -> Option<proto::PrimaryMessage> {
        let phase = std::mem::replace(&mut self.phase, Phase::Look);
        match phase {
            Phase::Sending(Transfer { id, head: None, .. }) => Some(super::message(
                proto::primary_message::Message::Abort(proto::Abort {
                    database: name.to_string(),
                    round: self.round,
                    transfer: id,
                }),
            )),
            _ => None,
        }
    }
}
