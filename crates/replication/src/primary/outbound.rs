//! What to send next to one replica: credits, turns, rounds. Without network, store or clock.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use ltx::{Pos, TxId};
use store::{DbName, Incarnation};

use super::flow::{Flow, Phase, Transfer};
use super::message;
use crate::error::Violation;
use crate::proto::{self, primary_message::Message};
#[cfg(any(test, feature = "fuzzing"))]
use crate::wire::cost;
use crate::wire::{CHUNK_MAX, DATABASES_MAX, PeerDatabase, WINDOW_MAX};

/// Bytes in flight to one replica over all databases, as long as each has at least one chunk.
const WINDOW_TOTAL: u64 = 64 * 1024 * 1024;

/// What the owner has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// See whether there is something to send for this database, and answer with one of [`Outbound::up_to_date`],
    /// [`Outbound::begin`], [`Outbound::opening`], [`Outbound::await_slot`], [`Outbound::broken`] and
    /// [`Outbound::gone`].
    Look(DbName),
    /// Take a piece of what is on its way and give it to [`Outbound::chunk`]. If there is none yet, do nothing and
    /// call [`Outbound::resume`] when there is.
    Pull(DbName),
}

/// All databases on their way to one replica.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    flows: HashMap<DbName, Flow>,
    /// Databases that may have something to do, each at most once: they take turns.
    turns: VecDeque<DbName>,
    /// Databases that wait until less is read from disk.
    awaiting_slot: VecDeque<DbName>,
    transfers: u64,
    /// Databases with something in flight.
    active: u64,
    /// What the replica still lacks of what there was when the stream began.
    catching_up: HashMap<DbName, TxId>,
    ready_sent: bool,
}

impl Outbound {
    /// A database that the replica has said it has. To be followed by [`changed`](Self::changed) or
    /// [`gone`](Self::gone).
    pub(crate) fn join(&mut self, theirs: &PeerDatabase) {
        let phase = if theirs.busy {
            Phase::Held
        } else {
            Phase::Idle
        };
        self.flows.insert(
            theirs.name.clone(),
            Flow::new(0, theirs.incarnation, theirs.pos, phase),
        );
    }

    /// The replica counts as ready once it has applied `txid` of this database.
    pub(crate) fn await_catch_up(&mut self, name: &DbName, txid: TxId) {
        self.catching_up.insert(name.clone(), txid);
    }

    /// The replica counts as ready without this database: it is stuck there.
    pub(crate) fn forget_catch_up(&mut self, name: &DbName) {
        self.catching_up.remove(name);
    }

    /// The database exists, and its position may have moved. If it is another database than the one on its way, that
    /// is given up: then true, and the owner must forget its source.
    pub(crate) fn changed(
        &mut self,
        name: &DbName,
        incarnation: Incarnation,
    ) -> (bool, Option<proto::PrimaryMessage>) {
        let flow = self
            .flows
            .entry(name.clone())
            .or_insert_with(|| Flow::new(0, incarnation, Pos::EMPTY, Phase::Idle));
        match flow.phase {
            Phase::Idle | Phase::Gone => flow.phase = Phase::Look,
            Phase::Opening | Phase::Sending(_) if flow.incarnation != incarnation => {
                let abort = flow.abort(name);
                self.enqueue(name);
                return (true, abort);
            }
            _ => return (false, None),
        }
        self.enqueue(name);
        (false, None)
    }

    /// There is no such database, or nothing in it: what to tell the replica. The owner must forget its source.
    pub(crate) fn gone(&mut self, name: &DbName) -> Vec<proto::PrimaryMessage> {
        self.catching_up.remove(name);
        let Some(flow) = self.flows.get_mut(name) else {
            return Vec::new();
        };
        match flow.phase {
            // It would be discarded as a part of a failed round. Its request comes, and finds that it is gone.
            Phase::Gone | Phase::Held => return Vec::new(),
            _ => {}
        }
        let mut messages: Vec<_> = flow.abort(name).into_iter().collect();
        flow.phase = Phase::Gone;
        flow.pos = Pos::EMPTY;
        messages.push(message(Message::Drop(proto::Drop {
            database: name.to_string(),
            round: flow.round,
        })));
        messages
    }

    /// What to do next, or None until something happens.
    pub(crate) fn next(&mut self) -> Option<Turn> {
        while let Some(name) = self.turns.pop_front() {
            let window = self.window();
            let Some(flow) = self.flows.get_mut(&name) else {
                continue;
            };
            flow.queued = false;
            // Without credit it comes back with an acknowledgement.
            let credit = flow.in_flight() < window;
            match flow.phase {
                Phase::Look if credit => return Some(Turn::Look(name)),
                Phase::Sending(_) if credit => return Some(Turn::Pull(name)),
                Phase::Opening => return Some(Turn::Pull(name)),
                _ => {}
            }
        }
        None
    }

    /// From which position the replica needs this database, which is now in this incarnation.
    pub(crate) fn place(&mut self, name: &DbName, incarnation: Incarnation) -> Pos {
        let Some(flow) = self.flows.get_mut(name) else {
            return Pos::EMPTY;
        };
        if flow.incarnation != incarnation {
            flow.incarnation = incarnation;
            flow.pos = Pos::EMPTY;
        }
        flow.pos
    }

    /// Whether nothing has been sent in this round: the replica is where it says that it is.
    pub(crate) fn is_fresh(&self, name: &DbName) -> bool {
        self.flows.get(name).is_some_and(|flow| flow.sent() == 0)
    }

    /// Whether the replica asked again, for everything: it could not do with the files of the log, and may not the next
    /// time.
    pub(crate) fn asked_for_all(&self, name: &DbName) -> bool {
        let flow = self.flows.get(name);
        flow.is_some_and(|flow| flow.round > 0 && flow.pos == Pos::EMPTY)
    }

    /// How often in a row its source has failed.
    pub(crate) fn failures(&self, name: &DbName) -> u32 {
        self.flows.get(name).map_or(0, |flow| flow.failures)
    }

    /// Nothing to send for this database.
    pub(crate) fn up_to_date(&mut self, name: &DbName) {
        let Some(flow) = self.flows.get_mut(name) else {
            return;
        };
        flow.phase = Phase::Idle;
        if flow.sent() == 0 {
            self.catching_up.remove(name);
        }
    }

    /// An LTX file begins; its pieces are asked for by [`next`](Self::next).
    pub(crate) fn begin(&mut self, name: &DbName, head: proto::TransferHead, post: Pos) {
        self.transfers += 1;
        let id = self.transfers;
        self.set_phase(name, Phase::Sending(Transfer::new(id, head, post)));
        self.enqueue(name);
    }

    /// A snapshot is being taken; [`begin`](Self::begin) follows.
    pub(crate) fn opening(&mut self, name: &DbName) {
        self.set_phase(name, Phase::Opening);
    }

    /// Something has to be read from disk, and the owner has no slot for that.
    pub(crate) fn await_slot(&mut self, name: &DbName) {
        let Some(flow) = self.flows.get_mut(name) else {
            return;
        };
        flow.phase = Phase::AwaitsSlot;
        // A replica that asks again and again must not make the queue longer.
        if !std::mem::replace(&mut flow.in_line, true) {
            self.awaiting_slot.push_back(name.clone());
        }
    }

    /// A slot is free: one that waits for it gets its turn.
    pub(crate) fn slot_freed(&mut self) {
        while let Some(name) = self.awaiting_slot.pop_front() {
            let Some(flow) = self.flows.get_mut(&name) else {
                continue;
            };
            flow.in_line = false;
            if matches!(flow.phase, Phase::AwaitsSlot) {
                flow.phase = Phase::Look;
                self.enqueue(&name);
                return;
            }
        }
    }

    /// Its source has something again.
    pub(crate) fn resume(&mut self, name: &DbName) {
        self.enqueue(name);
    }

    /// The next piece of what is on its way. None if nothing is.
    pub(crate) fn chunk(
        &mut self,
        name: &DbName,
        data: Bytes,
        last: bool,
    ) -> Option<proto::PrimaryMessage> {
        debug_assert!(
            !data.is_empty() && data.len() <= CHUNK_MAX,
            "a chunk of {} bytes",
            data.len()
        );
        let flow = self.flows.get_mut(name)?;
        let before = flow.in_flight();
        let chunk = flow.chunk(name, data, last)?;
        if before == 0 {
            self.active += 1;
        }
        self.enqueue(name);
        Some(message(Message::Chunk(chunk)))
    }

    /// Its source failed. The owner forgets it, sends the message, and calls [`retry`](Self::retry) after a while
    /// that grows with the number of failures.
    pub(crate) fn broken(&mut self, name: &DbName) -> (u32, Option<proto::PrimaryMessage>) {
        self.catching_up.remove(name);
        let Some(flow) = self.flows.get_mut(name) else {
            return (0, None);
        };
        let abort = flow.abort(name);
        flow.phase = Phase::Paused;
        flow.failures = flow.failures.saturating_add(1);
        (flow.failures, abort)
    }

    /// The time after a failure is over.
    pub(crate) fn retry(&mut self, name: &DbName) {
        if let Some(flow) = self.flows.get_mut(name)
            && matches!(flow.phase, Phase::Paused)
        {
            flow.phase = Phase::Look;
            self.enqueue(name);
        }
    }

    /// The replica has consumed bytes, and perhaps applied a transaction. False if the message is of an earlier round.
    pub(crate) fn acked(
        &mut self,
        name: &DbName,
        round: u64,
        consumed: u64,
        applied: Option<Pos>,
    ) -> Result<bool, Violation> {
        let flow = self.flows.get_mut(name).ok_or_else(|| never_sent(name))?;
        if round < flow.round {
            return Ok(false);
        }
        let before = flow.in_flight();
        if round > flow.round || !flow.give_back(consumed) {
            return Err(Violation::Acknowledged {
                db: name.clone(),
                round,
                claimed: consumed,
                sent: flow.sent(),
            });
        }
        if before > 0 && flow.in_flight() == 0 {
            self.active -= 1;
        }
        if let (Some(pos), Some(target)) = (applied, self.catching_up.get(name))
            && pos.txid >= *target
        {
            self.catching_up.remove(name);
        }
        self.enqueue(name);
        Ok(true)
    }

    /// The replica could not take it, and will ask: soon if it is only a matter of the position. The owner must
    /// forget its source if this is true; else the message is of an earlier round.
    pub(crate) fn failed(
        &mut self,
        name: &DbName,
        round: u64,
        soon: bool,
    ) -> Result<bool, Violation> {
        let flow = self.flows.get_mut(name).ok_or_else(|| never_sent(name))?;
        if round != flow.round {
            return Ok(false);
        }
        flow.phase = Phase::Held;
        if !soon {
            self.catching_up.remove(name);
        }
        Ok(true)
    }

    /// The replica wants this database from there on. The owner must forget its source if this is true; else the
    /// message is of an earlier round.
    pub(crate) fn asked(
        &mut self,
        name: &DbName,
        round: u64,
        incarnation: Incarnation,
        pos: Pos,
    ) -> Result<bool, Violation> {
        match self.flows.get(name) {
            Some(flow) if round <= flow.round => return Ok(false),
            Some(flow) if flow.in_flight() > 0 => self.active -= 1,
            Some(_) => {}
            None if self.flows.len() >= DATABASES_MAX => {
                return Err(Violation::TooMany {
                    what: "databases",
                    max: DATABASES_MAX,
                });
            }
            None => {}
        }
        let mut flow = Flow::new(round, incarnation, pos, Phase::Look);
        if let Some(before) = self.flows.get(name) {
            flow.queued = before.queued;
            flow.in_line = before.in_line;
        }
        self.flows.insert(name.clone(), flow);
        self.enqueue(name);
        Ok(true)
    }

    /// Whether the replica has just caught up. True once.
    pub(crate) fn take_ready(&mut self) -> bool {
        let now = !self.ready_sent && self.catching_up.is_empty();
        self.ready_sent |= now;
        now
    }

    /// Bytes that each database may have in flight.
    fn window(&self) -> u64 {
        (WINDOW_TOTAL / self.active.max(1)).clamp(CHUNK_MAX as u64, WINDOW_MAX)
    }

    fn set_phase(&mut self, name: &DbName, phase: Phase) {
        if let Some(flow) = self.flows.get_mut(name) {
            flow.phase = phase;
        }
    }

    fn enqueue(&mut self, name: &DbName) {
        if let Some(flow) = self.flows.get_mut(name)
            && !flow.queued
            && matches!(flow.phase, Phase::Look | Phase::Opening | Phase::Sending(_))
        {
            flow.queued = true;
            self.turns.push_back(name.clone());
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Outbound {
    /// What is counted and queued is what there is.
    pub(crate) fn assert_consistent(&self) {
        let flows = || self.flows.values();
        let active = flows().filter(|flow| flow.in_flight() > 0).count() as u64;
        assert_eq!(self.active, active, "databases with something in flight");
        let queued = flows().filter(|flow| flow.queued).count();
        assert_eq!(self.turns.len(), queued, "databases in the queue of turns");
        let waiting: std::collections::HashSet<_> = self.awaiting_slot.iter().collect();
        assert_eq!(
            self.awaiting_slot.len(),
            waiting.len(),
            "waiting for a slot"
        );
        let most = WINDOW_MAX + cost(CHUNK_MAX);
        assert!(flows().all(|flow| flow.in_flight() < most));
    }
}

fn never_sent(name: &DbName) -> Violation {
    Violation::Transfer {
        db: name.clone(),
        reason: "nothing of it was ever sent".to_owned(),
    }
}

#[cfg(test)]
mod tests;
