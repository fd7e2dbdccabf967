//! The way of one database from the stream into the store.
//!
//! A lane is a queue and at most one blocking thread that works it off. It lives as long as that thread is busy, also
//! beyond the connection: a database that is stuck keeps nobody from reconnecting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ltx::Pos;
use parking_lot::Mutex;
use store::{DbName, Incarnation, Incoming, Store};
use tokio::sync::Notify;

use super::inbound::Piece;
use super::link::Link;
use super::trouble::Trouble;
use crate::error::Violation;
use crate::proto::{self, replica_message::Message};
use crate::wire::{CHUNK_MAX, WINDOW_MAX, cost, printable, to_history, to_position};

/// Credit is given back at least as often as this many bytes are consumed, and whenever the queue is empty.
const REPORT: u64 = 64 * 1024;

/// Most cost of what waits in one lane: the primary stops at the first chunk that reaches the window.
const QUEUE_MAX: u64 = WINDOW_MAX + CHUNK_MAX as u64 + 1024;

/// Longest text of a failure that is sent, in characters.
const TEXT_MAX: usize = 500;

/// Something to do, in the order of the stream.
#[derive(Debug)]
pub(crate) enum Job {
    /// Collect a piece of a file, and apply it if it is the last.
    Piece(Piece),
    /// Forget what has been collected.
    Abort,
    /// Drop the database.
    Drop,
}

impl Job {
    fn cost(&self) -> u64 {
        match self {
            Job::Piece(piece) => cost(piece.data.len()),
            Job::Abort | Job::Drop => 0,
        }
    }
}

/// Names what a job belongs to. What belongs to an earlier turn is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    connection: u64,
    round: u64,
}

/// One database on its way into the store.
pub(crate) struct Lane {
    name: DbName,
    store: Arc<Store>,
    state: Mutex<State>,
    /// Of the thread that works the queue off; nobody else takes it.
    receiving: Mutex<Option<Receiving>>,
    idle: Notify,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    link: Option<Arc<Link>>,
    queue: VecDeque<Job>,
    /// Cost of the queue and of the job that is being done.
    queued: u64,
    /// A thread is working the queue off.
    running: bool,
    /// The thread is still busy for an earlier connection. When it is done, this one asks.
    rejoin: bool,
    consumed: u64,
    reported: u64,
    /// Failures in a row without progress, and the position from where the last one made us ask.
    failures: u32,
    asked_from: Option<Pos>,
}

/// A file that is being collected.
struct Receiving {
    incarnation: Incarnation,
    incoming: Incoming,
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes of incarnation {}",
            self.incoming.len(),
            self.incarnation
        )
    }
}

/// What a job has come to.
enum Done {
    Taken,
    Applied(Incarnation, Pos),
    Dropped,
}

impl Lane {
    pub(crate) fn new(name: DbName, store: Arc<Store>, connection: u64, link: Arc<Link>) -> Lane {
        let state = State {
            turn: Turn {
                connection,
                round: 0,
            },
            link: Some(link),
            queue: VecDeque::new(),
            queued: 0,
            running: false,
            rejoin: false,
            consumed: 0,
            reported: 0,
            failures: 0,
            asked_from: None,
        };
        Lane {
            name,
            store,
            state: Mutex::new(state),
            receiving: Mutex::new(None),
            idle: Notify::new(),
        }
    }

    /// Queues a job of a round, and starts a thread if none is at work. Must be called within a Tokio runtime.
    pub(crate) fn push(self: &Arc<Self>, round: u64, job: Job) -> Result<(), Violation> {
        let mut state = self.state.lock();
        if round < state.turn.round {
            return Ok(());
        }
        if round > state.turn.round {
            let reason = format!("round {round}, only {} were asked for", state.turn.round);
            return Err(Violation::Transfer {
                db: self.name.clone(),
                reason,
            });
        }
        let queued = state.queued + job.cost();
        if queued > QUEUE_MAX {
            return Err(Violation::Credit {
                db: self.name.clone(),
                queued,
                credit: QUEUE_MAX,
            });
        }
        state.queued = queued;
        state.queue.push_back(job);
        if !std::mem::replace(&mut state.running, true) {
            drop(state);
            let lane = Arc::clone(self);
            tokio::task::spawn_blocking(move || lane.work());
        }
        Ok(())
    }

    /// A new connection begins: what was queued is void. True if a thread is still at work.
    pub(crate) fn detach(&self, connection: u64) -> bool {
        let mut state = self.state.lock();
        state.turn = Turn {
            connection,
            round: 0,
        };
        state.link = None;
        state.queue.clear();
        state.queued = 0;
        state.consumed = 0;
        state.reported = 0;
        state.failures = 0;
        state.asked_from = None;
        state.rejoin = state.running;
        state.running
    }

    /// The new connection stands. Called for lanes that were busy at [`detach`](Self::detach).
    pub(crate) fn attach(&self, link: Arc<Link>) {
        let mut state = self.state.lock();
        state.link = Some(link);
        if !state.running {
            self.rejoin(&mut state);
        }
    }

    /// What is queued is void, and everything is asked for. What is being applied at this moment belongs to an earlier
    /// round then.
    pub(crate) fn ask_for_all(&self) {
        let mut state = self.state.lock();
        state.turn.round += 1;
        state.queue.clear();
        (state.queued, state.consumed, state.reported) = (0, 0, 0);
        self.ask(&mut state, true);
    }

    /// Waits until no thread is at work.
    pub(crate) async fn until_idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if !self.state.lock().running {
                return;
            }
            idle.await;
        }
    }

    /// Works the queue off, on a blocking thread.
    fn work(self: &Arc<Self>) {
        let mut receiving = self.receiving.lock();
        loop {
            let (job, turn) = {
                let mut state = self.state.lock();
                let Some(job) = state.queue.pop_front() else {
                    state.running = false;
                    self.idle.notify_waiters();
                    return;
                };
                (job, state.turn)
            };
            let cost = job.cost();
            let result = catch_unwind(AssertUnwindSafe(|| self.perform(&mut receiving, job)));
            let result = match result {
                Ok(result) => result.map_err(Trouble::Store),
                Err(_) => Err(Trouble::Panic),
            };
            if result.is_err() {
                *receiving = None;
            }
            let mut state = self.state.lock();
            if state.turn == turn {
                self.settle(&mut state, cost, result);
            } else {
                *receiving = None;
                self.rejoin(&mut state);
            }
        }
    }

    fn perform(&self, receiving: &mut Option<Receiving>, job: Job) -> Result<Done, store::Error> {
        match job {
            Job::Abort => {
                *receiving = None;
                Ok(Done::Taken)
            }
            Job::Drop => {
                *receiving = None;
                match self.store.drop_database(&self.name) {
                    Ok(()) | Err(store::Error::UnknownDatabase(_)) => Ok(Done::Dropped),
                    Err(error) => Err(error),
                }
            }
            Job::Piece(piece) => {
                if let Some(begins) = piece.begins {
                    let mut incoming = self.store.incoming(&self.name, begins.incarnation);
                    if begins.replaces_history {
                        incoming.set_replaces_history(begins.common);
                    }
                    if let Some(history) = begins.history {
                        incoming.set_history(history);
                    }
                    *receiving = Some(Receiving {
                        incarnation: begins.incarnation,
                        incoming,
                    });
                }
                // The pieces were checked before they came here: without a beginning there is none.
                let Some(file) = receiving.as_mut() else {
                    return Ok(Done::Taken);
                };
                file.incoming.write(&piece.data)?;
                if !piece.last {
                    return Ok(Done::Taken);
                }
                let Some(file) = receiving.take() else {
                    return Ok(Done::Taken);
                };
                let pos = self
                    .store
                    .take_in(&self.name, file.incarnation, file.incoming)?;
                Ok(Done::Applied(file.incarnation, pos))
            }
        }
    }

    /// Says what a job has come to.
    fn settle(self: &Arc<Self>, state: &mut State, cost: u64, result: Result<Done, Trouble>) {
        let Some(link) = state.link.clone() else {
            return;
        };
        match result {
            Ok(done) => {
                state.queued -= cost;
                state.consumed += cost;
                match done {
                    Done::Taken => self.give_back(state, &link, None),
                    Done::Applied(incarnation, pos) => {
                        state.failures = 0;
                        self.give_back(state, &link, Some(pos));
                        link.applied(&self.store, &self.name, incarnation, pos);
                    }
                    Done::Dropped => {
                        state.failures = 0;
                        link.dropped(&self.store, &self.name);
                    }
                }
            }
            Err(trouble) => self.fail(state, &link, &trouble),
        }
    }

    /// Acknowledges a transaction, or credit when it is worth a message.
    fn give_back(&self, state: &mut State, link: &Link, applied: Option<Pos>) {
        let unreported = state.consumed - state.reported;
        let worth_it = unreported >= REPORT || (unreported > 0 && state.queue.is_empty());
        if applied.is_none() && !worth_it {
            return;
        }
        state.reported = state.consumed;
        // A position that was applied is as durable as the store makes it before it returns; it says no more.
        let position = applied.and_then(to_position);
        link.send(Message::Ack(proto::Ack {
            database: self.name.to_string(),
            round: state.turn.round,
            consumed: state.consumed,
            received: position,
            durable: position,
            applied: position,
        }));
    }

    /// Gives the round up, and arranges for another.
    fn fail(self: &Arc<Self>, state: &mut State, link: &Arc<Link>, trouble: &Trouble) {
        // The store may have finished what failed before, and so not need what was sent again.
        let (_, pos) = self.place();
        if state.asked_from.is_some_and(|from| from != pos) {
            state.failures = 0;
        }
        let again = trouble.again(state.failures);
        let text = printable(&trouble.text(), TEXT_MAX);
        tracing::warn!(
            database = %self.name, retry_in = ?again.delay, from_scratch = again.from_scratch,
            "cannot apply what the primary sent: {text}"
        );
        link.send(Message::Failure(proto::Failure {
            database: self.name.to_string(),
            round: state.turn.round,
            kind: trouble.kind().into(),
            text,
        }));
        state.failures = state.failures.saturating_add(1);
        state.turn.round += 1;
        state.queue.clear();
        (state.queued, state.consumed, state.reported) = (0, 0, 0);
        if again.delay == Duration::ZERO {
            self.ask(state, again.from_scratch);
        } else {
            self.ask_later(link, state.turn, again.from_scratch, again.delay);
        }
    }

    fn ask_later(
        self: &Arc<Self>,
        link: &Arc<Link>,
        turn: Turn,
        from_scratch: bool,
        delay: Duration,
    ) {
        let lane = Arc::downgrade(self);
        let ended = link.ended().clone();
        link.runtime().spawn(async move {
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            if let Some(lane) = lane.upgrade() {
                let mut state = lane.state.lock();
                if state.turn == turn {
                    lane.ask(&mut state, from_scratch);
                }
            }
        });
    }

    /// The thread that was busy for an earlier connection is done: takes part in this one, if it stands yet.
    fn rejoin(&self, state: &mut State) {
        if state.rejoin && state.link.is_some() {
            state.rejoin = false;
            state.turn.round += 1;
            self.ask(state, false);
        }
    }

    /// Asks for the database from where it is.
    fn ask(&self, state: &mut State, from_scratch: bool) {
        let Some(link) = &state.link else { return };
        let (incarnation, pos) = self.place();
        link.send(Message::Ask(proto::Ask {
            database: self.name.to_string(),
            round: state.turn.round,
            incarnation,
            position: if from_scratch { None } else { to_position(pos) },
            history: self
                .store
                .database(&self.name)
                .map_or_else(Vec::new, |ours| to_history(&ours.history())),
        }));
        state.asked_from = Some(pos);
    }

    /// Where our database is.
    fn place(&self) -> (u64, Pos) {
        let ours = self.store.database(&self.name);
        ours.map_or((0, Pos::EMPTY), |ours| {
            (ours.incarnation().get(), ours.pos())
        })
    }
}
