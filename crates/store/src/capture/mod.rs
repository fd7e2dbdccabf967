//! Capture: what SQLite committed becomes LTX transactions (on the primary).

pub(crate) mod diff;
pub(crate) mod generation;
pub(crate) mod hold;
mod hot_journal;
pub(crate) mod join;
mod mark;
pub(crate) mod rollback;
mod several;
pub(crate) mod wal;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ltx::Pgno;

use crate::core::Core;
use crate::error::Error;
use crate::name::FileKind;
use crate::status::Mode;
use crate::view::read_first_page;

/// Why a capture runs: it decides what may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Something was written, or somebody asks for the position.
    Wake,
    /// The -wal was synced and the request is held: what is in it now may be overwritten once it is answered.
    Sync,
    /// The -wal is about to go, or to be emptied.
    End,
}

/// What failed when a database is latched: only its success ends that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LatchKind {
    /// Capturing what SQLite committed.
    Capture,
    /// Storing or applying a received transaction.
    Apply,
    /// Taking up the node's role.
    Role,
}

/// A capture takes at most this share of a processor while commits keep coming: the pause after it is so many
/// times as long as it took.
const PAUSE_FACTOR: u32 = 4;

/// So many commits in one capture are load: then it is worth while to wait for more.
const LOAD: u64 = 3;

/// After a failed capture the next try comes after this time.
const RETRY: Duration = Duration::from_millis(500);

impl Core {
    /// Captures everything that is committed and can be taken on this occasion; latches the database if that fails.
    pub(crate) fn capture(&mut self, occasion: Occasion) -> Result<(), Error> {
        if !self.may_capture() {
            return Ok(());
        }
        self.notice_change_of_mode();
        let result = match self.mode() {
            Mode::Wal => self.capture_wal(occasion),
            Mode::Rollback | Mode::Empty | Mode::NotSqlite => self.capture_unjournaled(),
        };
        self.latch(LatchKind::Capture, &result);
        result
    }

    /// With journal_mode MEMORY or OFF the end of WAL mode has no commit point: it is a write to the database file, and
    /// nothing but the file itself tells it from a checkpoint.
    fn notice_change_of_mode(&mut self) {
        if self.mode() != Mode::Wal || self.shared.dirty.lock().is_empty() {
            return;
        }
        match self.mode_of_database_file() {
            Ok(mode @ (Mode::Rollback | Mode::NotSqlite)) => {
                self.forget_generation();
                self.set_mode(mode);
            }
            // Still in WAL mode: what was written are backfilled frames.
            Ok(_) => self.shared.dirty.lock().clear(),
            Err(error) => {
                tracing::warn!(database = %self.name(), error = error.chain(), "its journal mode is not known");
            }
        }
    }

    /// Whoever had a database in WAL mode open need not have been SQLite (`dd`, `rsync --inplace`), and nobody sees their
    /// writes. Once it is closed and the log is gone, the first page is the one that is known, or all is compared.
    pub(crate) fn notice_file_of_another(&mut self) -> Result<(), Error> {
        let log = self.dir().file(FileKind::Wal);
        let known = self.page_size.filter(|_| self.mode() == Mode::Wal);
        let Some(page_size) = known.filter(|_| self.may_capture() && !log.exists()) else {
            return Ok(());
        };
        let page = read_first_page(self.dir(), page_size)?;
        if ltx::page_checksum(Pgno::FIRST, &page) == self.table.get(Pgno::FIRST) {
            return Ok(());
        }
        tracing::warn!(database = %self.name(), pos = %self.pos(), "written by somebody else than SQLite");
        self.begin_in_place();
        self.capture(Occasion::Wake)
    }

    /// Captures are the primary's, and only from a known state.
    pub(crate) fn may_capture(&self) -> bool {
        let author = self.env().is_primary() || self.last_words;
        self.settled && author && !self.shared.is_closed()
    }

    /// A wake-up: capture, then look again if a writer seems to be about to publish, and set the pace.
    pub(crate) fn on_wake(&mut self) {
        self.shared.wake.pending.store(false, Ordering::Release);
        if self.unfinished.is_some() {
            // Latched; it asks for the next try itself if this one fails.
            let _ = self.finish_apply();
            return;
        }
        if self.latched == Some(LatchKind::Role) {
            self.take_up_role();
        }
        let begun = Instant::now();
        let before = self.pos();
        if self.capture(Occasion::Wake).is_err() {
            return;
        }
        if self.mode() == Mode::Wal && (self.pos() == before || self.read_mark_is_late()) {
            self.look_again();
        } else {
            self.wal.looks = 0;
        }
        // A writer that commits now and then is captured at once, each time.
        let commits = self.pos().txid.get().saturating_sub(before.txid.get());
        let pause = if commits < LOAD {
            Duration::ZERO
        } else {
            (begun.elapsed() * PAUSE_FACTOR).min(self.env().config.capture_pace)
        };
        *self.shared.wake.not_before.lock() = Some(Instant::now() + pause);
    }

    /// Shows a failure and tries again later; shows that it is over when the same thing succeeds.
    pub(crate) fn latch<T>(&mut self, kind: LatchKind, result: &Result<T, Error>) {
        match result {
            Ok(_) if self.latched == Some(kind) => {
                self.latched = None;
                self.shared.update(|state| state.latched = None);
                self.let_writers_in();
                tracing::info!(database = %self.name(), pos = %self.pos(), "replicating again");
            }
            Ok(_) => {}
            Err(error) => {
                let text = error.chain();
                if self.shared.state().latched.as_deref() != Some(&text) {
                    tracing::error!(database = %self.name(), pos = %self.pos(), error = text, "not replicating");
                    self.shared.update(|state| state.latched = Some(text));
                }
                self.latched = Some(kind);
                self.keep_writers_out();
                if let Some(db) = self.database() {
                    self.env().timer.clone().after(RETRY, move || db.wake());
                }
            }
        }
    }
}
