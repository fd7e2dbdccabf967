//! What is known of a database without waiting for its strand: read by the mount's workers, the stream, the API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use ltx::{PageSize, Pos};
use parking_lot::{Mutex, RwLock};

use crate::dirty::Dirty;
use crate::env::Env;
use crate::history::History;
use crate::incarnation::Incarnation;
use crate::layout::DatabaseDir;
use crate::lock_probe::LockProbe;
use crate::log::LtxLog;
use crate::name::{DbName, FileKind};
use crate::status::Mode;

/// The shared part of a database.
pub(crate) struct Shared {
    pub(crate) name: DbName,
    pub(crate) dir: DatabaseDir,
    pub(crate) env: Arc<Env>,
    pub(crate) log: RwLock<LtxLog>,
    /// The terms in which its transactions were made.
    pub(crate) history: RwLock<History>,
    /// What the mount saw written to the database file and was not captured yet.
    pub(crate) dirty: Mutex<Dirty>,
    /// Handles with which a FUSE worker can ask who holds which of SQLite's locks.
    pub(crate) probe: RwLock<Option<LockProbe>>,
    /// Salts of the WAL generation that is being captured, as `salt1 << 32 | salt2`.
    pub(crate) captured_salts: AtomicU64,
    /// The journal was written since the last commit point: a transaction is going on.
    pub(crate) journal_active: AtomicBool,
    /// The -wal was removed and not opened since: a database in WAL mode is being switched to another mode, unless it
    /// was the last connection that closed.
    pub(crate) log_gone: AtomicBool,
    /// On a replica: what the file holds is known to be wrong, and the right content has not come yet.
    pub(crate) unreadable: AtomicBool,
    /// On a replica: some page is damaged, and the primary is to be asked for the content.
    pub(crate) wants_content: AtomicBool,
    /// The node ceased to be the primary, and what was committed before is not all captured.
    pub(crate) owes_capture: AtomicBool,
    /// Another node has, or had, this database.
    pub(crate) replicated: AtomicBool,
    /// Since when an application has had the database for itself while something is to be applied.
    pub(crate) blocked: Mutex<Option<Instant>>,
    /// On a replica: WAL_WRITE_LOCK is held.
    pub(crate) writer_joined: AtomicBool,
    /// The keeper has what it needs to keep applications from committing.
    pub(crate) guarded: AtomicBool,
    /// Since the last OPEN of the -shm there was no UNLINK of it: it can be opened by its name. An UNLINK holds the
    /// directory until it is answered, so that the strand, which answers it, must not look for a name then.
    pub(crate) shm_named: AtomicBool,
    /// A checkpoint is running on another thread.
    pub(crate) checkpointing: AtomicBool,
    /// Held while it does: it has files of the database open.
    pub(crate) checkpoint: Mutex<()>,
    pub(crate) wake: Wake,
    pub(crate) counters: Counters,
    /// Handles that applications have open, by [`FileKind`].
    open: [AtomicU32; 4],
    /// Of these, handles on the database file whose writes the mount does not see.
    pub(crate) unseen_writers: AtomicU32,
    closed: AtomicBool,
    state: RwLock<State>,
}

/// The captures that were asked for.
#[derive(Default)]
pub(crate) struct Wake {
    /// A capture is queued and has not begun.
    pub(crate) pending: AtomicBool,
    /// One is due after a pause.
    pub(crate) delayed: AtomicBool,
    /// Not before this moment, to catch several commits in one.
    pub(crate) not_before: Mutex<Option<Instant>>,
}

/// Counts since the start of the process.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) writes: [AtomicU64; 4],
}

/// What a status shows.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) incarnation: Incarnation,
    pub(crate) pos: Pos,
    pub(crate) mode: Mode,
    pub(crate) page_size: Option<PageSize>,
    pub(crate) page_count: u32,
    pub(crate) last_change_ms: Option<i64>,
    pub(crate) lag_ms: i64,
    pub(crate) latched: Option<String>,
    /// Pages that the last scrub found damaged.
    pub(crate) damaged: BTreeSet<u32>,
}

impl Shared {
    pub(crate) fn new(
        name: DbName,
        dir: DatabaseDir,
        env: Arc<Env>,
        log: LtxLog,
        history: History,
        state: State,
    ) -> Shared {
        let dir_knows_replica = dir.replicated().exists();
        Shared {
            name,
            dir,
            env,
            log: RwLock::new(log),
            history: RwLock::new(history),
            dirty: Mutex::default(),
            probe: RwLock::default(),
            captured_salts: AtomicU64::new(0),
            journal_active: AtomicBool::new(false),
            log_gone: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            wants_content: AtomicBool::new(false),
            owes_capture: AtomicBool::new(false),
            replicated: AtomicBool::new(dir_knows_replica),
            blocked: Mutex::default(),
            writer_joined: AtomicBool::new(false),
            guarded: AtomicBool::new(false),
            shm_named: AtomicBool::new(false),
            checkpointing: AtomicBool::new(false),
            checkpoint: Mutex::new(()),
            wake: Wake::default(),
            counters: Counters::default(),
            open: Default::default(),
            unseen_writers: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            state: RwLock::new(state),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.read().clone()
    }

    pub(crate) fn pos(&self) -> Pos {
        self.state.read().pos
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state.read().mode
    }

    /// What is committed may be in a -wal: the header says so, or it has said so and applications are still connected.
    pub(crate) fn is_written_with_log(&self) -> bool {
        self.mode() == Mode::Wal || self.writer_joined.load(Ordering::Acquire)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.state.read().incarnation
    }

    pub(crate) fn set_pos(&self, pos: Pos) {
        self.state.write().pos = pos;
    }

    /// Changes what the status shows.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write());
    }

    pub(crate) fn note_page_count(
        &self,
        page_count: u32,
        page_size: Option<PageSize>,
        timestamp_ms: i64,
    ) {
        self.update(|state| {
            state.page_count = page_count;
            state.page_size = page_size;
            state.last_change_ms = Some(timestamp_ms);
        });
    }

    /// Handles that applications have open on a file.
    pub(crate) fn open_handles(&self, kind: FileKind) -> u32 {
        self.open[kind as usize].load(Ordering::Acquire)
    }

    /// One more handle; returns how many there are now.
    pub(crate) fn add_handle(&self, kind: FileKind) -> u32 {
        self.open[kind as usize].fetch_add(1, Ordering::AcqRel) + 1
    }

    /// One handle less; returns how many are left.
    pub(crate) fn remove_handle(&self, kind: FileKind) -> u32 {
        self.open[kind as usize].fetch_sub(1, Ordering::AcqRel) - 1
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
