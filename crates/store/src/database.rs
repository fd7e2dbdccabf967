//! A database of the store, as others see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ltx::Pos;

use crate::capture::Occasion;
use crate::core::Core;
use crate::error::Error;
use crate::history::History;
use crate::incarnation::Incarnation;
use crate::incoming::Incoming;
use crate::log::NextLtx;
use crate::name::{DbName, FileKind};
use crate::role::Epoch;
use crate::shared::Shared;
use crate::status::DatabaseStatus;
use crate::strand::Strand;

/// A database.
///
/// What changes it runs on its strand, one after the other; what only tells something does not wait for it.
pub struct Database {
    pub(crate) shared: Arc<Shared>,
    pub(crate) strand: Strand<Core>,
}

impl Database {
    pub(crate) fn new(
        shared: Arc<Shared>,
        core: impl FnOnce(std::sync::Weak<Database>) -> Core,
    ) -> Arc<Database> {
        let pool = shared.env.pool.clone();
        Arc::new_cyclic(|me| Database {
            shared,
            strand: Strand::new(pool, core(me.clone())),
        })
    }

    /// Its name.
    pub fn name(&self) -> &DbName {
        &self.shared.name
    }

    /// Which one of that name.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation()
    }

    /// The position: the last captured or applied transaction.
    pub fn pos(&self) -> Pos {
        self.shared.pos()
    }

    /// Captures what is committed now; the position after that. Waits for the strand.
    pub fn drain(&self) -> Result<Pos, Error> {
        self.call(|core| core.capture(Occasion::Wake).map(|()| core.pos()))?
    }

    /// Like [`Database::drain`], without waiting: `done` is called on the strand.
    pub fn drain_then(&self, done: impl FnOnce(Result<Pos, Error>) + Send + 'static) {
        self.strand
            .post(move |core| done(core.capture(Occasion::Wake).map(|()| core.pos())));
    }

    /// What to send to somebody who is at `pos`.
    pub fn next_after(&self, pos: Pos) -> NextLtx {
        // The log first: a position that moves in between makes the answer older, never wrong.
        let log = self.shared.log.read();
        let current = log.end().unwrap_or_else(|| self.pos());
        log.next_after(pos, current)
    }

    /// The last term that wrote to it.
    pub fn last_term(&self) -> Epoch {
        self.shared.history.read().epoch()
    }

    /// The terms in which its transactions were made.
    pub fn history(&self) -> History {
        self.shared.history.read().clone()
    }

    /// A place to collect a received LTX file.
    pub fn incoming(&self) -> Incoming {
        Incoming::new(&self.shared.dir.ltx())
    }

    /// Verifies, stores and applies a received LTX file. Waits for the strand and for readers that are in the way.
    pub fn apply(&self, incoming: Incoming) -> Result<Pos, Error> {
        let applied = match self.end_abandoned_transaction() {
            Ok(()) => self.call(|core| core.apply(incoming))?,
            Err(error) => Err(error),
        };
        match &applied {
            Ok(_) => self.note_replicated(),
            Err(Error::Busy { .. }) => self.end_exclusive_use(),
            Err(_) => {}
        }
        applied
    }

    /// After the last [`Database::take_tail`]: the content becomes that of the position, or the other way round.
    pub fn settle_tail(&self) -> Result<Pos, Error> {
        self.call(|core| {
            let role = core.env().role();
            core.settle(&role).map(|()| core.pos())
        })?
    }

    /// On a primary that does not let applications commit yet: takes in a transaction that a replica has and this node lost.
    pub fn take_tail(&self, incoming: Incoming) -> Result<Pos, Error> {
        self.end_abandoned_transaction()?;
        self.call(|core| core.take_tail(incoming))?
    }

    /// On a replica: a page is damaged, and the content of the primary should be asked for, until a snapshot is applied.
    pub fn wants_content(&self) -> bool {
        self.shared.wants_content.load(Ordering::Acquire)
    }

    /// What a status display shows.
    pub fn status(&self) -> DatabaseStatus {
        let state = self.shared.state();
        let log = self.shared.log.read();
        let counters = &self.shared.counters;
        let writes = |kind: FileKind| counters.writes[kind as usize].load(Ordering::Relaxed);
        DatabaseStatus {
            name: self.shared.name.clone(),
            pos: state.pos,
            incarnation: state.incarnation,
            mode: state.mode,
            page_size: state.page_size.map(|size| size.get()),
            page_count: state.page_count,
            commits: counters.commits.load(Ordering::Relaxed),
            applied: counters.applied.load(Ordering::Relaxed),
            ltx_files: log.file_count(),
            ltx_bytes: log.bytes_on_disk(),
            ltx_reaped: log.reaped(),
            last_change_ms: state.last_change_ms,
            lag_ms: state.lag_ms,
            latched: state.latched,
            damaged_pages: state.damaged.into_iter().collect(),
            database_writes: writes(FileKind::Database),
            journal_writes: writes(FileKind::Journal),
            wal_writes: writes(FileKind::Wal),
            shm_writes: writes(FileKind::Shm),
        }
    }

    /// Asks for a capture soon: now, or when the pause after the last one is over. Any number of calls before it runs
    /// are one.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.shared.wake.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let not_before = *self.shared.wake.not_before.lock();
        let pause = not_before
            .map(|at| at.saturating_duration_since(Instant::now()))
            .unwrap_or_default();
        if pause.is_zero() {
            self.strand.post(Core::on_wake);
        } else {
            let db = self.clone();
            self.shared
                .env
                .timer
                .after(pause, move || db.strand.post(Core::on_wake));
        }
    }

    /// Runs a job on the strand and waits for it.
    pub(crate) fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.strand
            .call(job)
            .ok_or_else(|| Error::Closed(self.shared.name.clone()))
    }
}
