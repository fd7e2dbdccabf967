//! What the mount tells a database, and asks it, about what *applications* do to its files. (The store's own handles
//! are not reported here.) All of it is called by FUSE workers and none of it waits: what may take long goes to the
//! strand with the completion.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlite::journal;
use sqlite::wal::WalHeader;

use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::Error;
use crate::layout::remove_if_exists;
use crate::mount::{Completion, Refusal};
use crate::name::FileKind;
use crate::shared_index::read_full;
use crate::status::Mode;

/// A pause after which writes without a journal are taken for complete, if the file can be locked.
const UNJOURNALED_PAUSE: Duration = Duration::from_millis(50);

impl Database {
    /// An application opened a file. `unseen`: its writes will not come to the mount.
    pub fn opened(self: &Arc<Self>, kind: FileKind, unseen: bool) {
        let handles = self.shared.add_handle(kind);
        match kind {
            FileKind::Shm => self.shared.shm_named.store(true, Ordering::Release),
            FileKind::Wal => self.shared.log_gone.store(false, Ordering::Release),
            FileKind::Database | FileKind::Journal => {}
        }
        if kind == FileKind::Database && unseen {
            self.shared.unseen_writers.fetch_add(1, Ordering::AcqRel);
            if self.shared.mode() != Mode::Wal && self.shared.env.is_primary() {
                self.strand.post(Core::watch_database_file);
            }
        }
        if !self.is_ready(kind) {
            // The role changed while it was being opened.
            self.strand.post(Core::make_ready);
        }
        // Join the wal-index and begin to watch the log before there is much in it.
        if handles == 1
            && matches!(kind, FileKind::Wal | FileKind::Shm)
            && self.shared.env.is_primary()
        {
            self.wake();
        }
    }

    /// An application has a file open since before this process. Before the mount answers anybody.
    pub fn was_open(&self, kind: FileKind, unseen: bool) {
        self.shared.add_handle(kind);
        match kind {
            FileKind::Shm => self.shared.shm_named.store(true, Ordering::Release),
            FileKind::Journal => self.shared.journal_active.store(true, Ordering::Release),
            FileKind::Database if unseen => {
                self.shared.unseen_writers.fetch_add(1, Ordering::AcqRel);
            }
            FileKind::Database | FileKind::Wal => {}
        }
    }

    /// The database file was written by somebody, maybe through the mount, maybe past it.
    pub(crate) fn written_unseen(self: &Arc<Self>) {
        let unseen = self.shared.unseen_writers.load(Ordering::Acquire) > 0;
        if unseen {
            self.shared.dirty.lock().note_unseen();
        }
        if self.shared.mode() == Mode::Wal {
            // A checkpoint, most likely.
            self.wake();
        } else if !unseen {
            // It came as a request.
        } else if !self.shared.journal_active.load(Ordering::Acquire) {
            self.wake_after(UNJOURNALED_PAUSE);
        }
    }

    /// Calls `then` once an application may open a file: on a replica not before the store is the only writer of a
    /// database in WAL mode; on the primary not before the keeper has what it needs to keep the application out.
    pub fn when_ready(self: &Arc<Self>, kind: FileKind, then: Box<dyn FnOnce() + Send>) {
        if kind == FileKind::Shm && self.is_to_be_guarded() {
            self.strand.post(move |core| {
                core.hold_for_open();
                then();
            });
        } else if self.is_ready(kind) {
            then();
        } else {
            self.strand.post(move |core| {
                core.make_ready();
                then();
            });
        }
    }

    fn is_to_be_guarded(&self) -> bool {
        let env = &self.shared.env;
        env.is_primary() && env.keeper().is_some() && !self.shared.guarded.load(Ordering::Acquire)
    }

    /// Whether an application that creates a file need not wait: it cannot.
    pub fn is_ready(&self, kind: FileKind) -> bool {
        let is_of_log = matches!(kind, FileKind::Wal | FileKind::Shm);
        let waits = is_of_log && !self.shared.env.is_primary() && self.shared.mode() == Mode::Wal;
        !waits || self.shared.writer_joined.load(Ordering::Acquire)
    }

    /// On a replica: whether the file can be shown. Not after a crash that left it different from the log, until the
    /// primary has sent the right content.
    pub fn is_readable(&self) -> bool {
        !self.shared.unreadable.load(Ordering::Acquire)
    }

    /// How SQLite writes the database.
    pub fn mode(&self) -> Mode {
        self.shared.mode()
    }

    /// An application closed a file.
    pub fn released(self: &Arc<Self>, kind: FileKind, unseen: bool) {
        let left = self.shared.remove_handle(kind);
        if kind == FileKind::Database {
            if unseen {
                self.shared.unseen_writers.fetch_sub(1, Ordering::AcqRel);
            }
            if !self.shared.dirty.lock().is_empty() {
                self.wake();
            }
        }
        if unseen && kind == FileKind::Database {
            self.strand.post(Core::forget_unneeded_watch);
        }
        if left == 0 && kind != FileKind::Journal {
            self.strand.post(Core::on_last_release);
        }
    }

    /// Whether an application may create a file.
    pub fn may_create(&self, kind: FileKind) -> Result<(), Refusal> {
        match kind {
            _ if self.shared.env.is_primary() => Ok(()),
            // On a replica the store makes the -wal and the -shm itself.
            _ => Err(Refusal::ReadOnly),
        }
    }

    /// Whether an application may change the length of a file.
    pub fn may_resize(&self, kind: FileKind) -> Result<(), Refusal> {
        match kind {
            // The store has it mapped for as long as it is a replica.
            FileKind::Shm if !self.shared.env.is_primary() => Err(Refusal::ReadOnly),
            _ => self.may_write(kind),
        }
    }

    /// Whether an application may remove a file.
    pub fn may_remove(&self, kind: FileKind) -> Result<(), Refusal> {
        match kind {
            _ if self.shared.env.is_primary() => Ok(()),
            FileKind::Journal if self.is_rolling_back() => Ok(()),
            _ => Err(Refusal::ReadOnly),
        }
    }

    /// On a node that ceased to be the primary: a transaction with a rollback journal is open. Its commit point is
    /// refused, and SQLite rolls it back with these files.
    fn is_rolling_back(&self) -> bool {
        self.shared.journal_active.load(Ordering::Acquire)
    }

    /// Whether an application may write to a file.
    pub fn may_write(&self, kind: FileKind) -> Result<(), Refusal> {
        match kind {
            _ if self.shared.env.is_primary() => Ok(()),
            // A transaction that began while this node could commit, and is to be rolled back.
            FileKind::Database | FileKind::Journal if self.is_rolling_back() => Ok(()),
            // A checkpoint; it copies what is committed already.
            FileKind::Database if self.shared.mode() == Mode::Wal => Ok(()),
            // Readers leave their marks there.
            FileKind::Shm => Ok(()),
            _ => Err(Refusal::ReadOnly),
        }
    }

    /// An application wrote to a file (and the backing file has it).
    pub fn wrote(self: &Arc<Self>, kind: FileKind, offset: u64, len: u64) {
        self.shared.counters.writes[kind as usize].fetch_add(1, Ordering::Relaxed);
        match kind {
            FileKind::Database if self.is_written_in_place() => {
                self.shared.dirty.lock().add(offset, len);
                if !self.shared.journal_active.load(Ordering::Acquire) {
                    self.wake_after(UNJOURNALED_PAUSE);
                }
            }
            FileKind::Journal => self.shared.journal_active.store(true, Ordering::Release),
            _ => {}
        }
    }

    /// Whether a write to the database file is more than a checkpoint.
    fn is_written_in_place(&self) -> bool {
        self.shared.mode() != Mode::Wal || self.shared.log_gone.load(Ordering::Acquire)
    }

    /// FSYNC: syncs the backing file, and keeps what was synced from being overwritten before it was captured.
    pub fn sync(
        self: &Arc<Self>,
        kind: FileKind,
        file: Arc<File>,
        data_only: bool,
        done: Completion,
    ) {
        let synced = if data_only {
            file.sync_data()
        } else {
            file.sync_all()
        };
        if let Err(error) = synced {
            return done(Err(error.into()));
        }
        if !self.shared.env.is_primary() {
            return done(Ok(()));
        }
        match kind {
            FileKind::Wal if self.must_capture_before_reply(&file) => {
                self.strand.post(move |core| {
                    done(
                        core.capture(Occasion::Sync)
                            .map_err(|_| Refusal::CaptureFailed),
                    );
                })
            }
            FileKind::Wal => {
                done(Ok(()));
                self.wake();
            }
            FileKind::Database if self.shared.mode() != Mode::Wal && self.has_much_to_stage() => {
                self.strand.post(move |core| {
                    core.stage();
                    done(Ok(()));
                });
            }
            FileKind::Database if self.shared.mode() != Mode::Wal => {
                done(Ok(()));
                if !self.shared.journal_active.load(Ordering::Acquire) {
                    self.wake();
                }
            }
            _ => done(Ok(())),
        }
    }

    /// UNLINK of a companion: does it, after what is lost with the file was captured.
    pub fn remove(self: &Arc<Self>, kind: FileKind, done: Completion) {
        let path = self.shared.dir.file(kind);
        let remove = move || remove_if_exists(&path).map_err(|error| refusal(&error));
        match kind {
            FileKind::Journal => self.strand.post(move |core| {
                let done_with = core.commit_point().and_then(|()| remove());
                core.journal_gone(&done_with);
                done(done_with);
            }),
            FileKind::Wal => self.strand.post(move |core| {
                let captured = core
                    .capture(Occasion::End)
                    .map_err(|_| Refusal::CaptureFailed);
                let removed = captured.and_then(|()| remove());
                if removed.is_ok() {
                    core.log_is_gone();
                }
                done(removed);
            }),
            FileKind::Shm => {
                self.shared.shm_named.store(false, Ordering::Release);
                self.strand.post(move |core| {
                    // What is published is known only as long as the index is there.
                    let captured = core
                        .capture(Occasion::End)
                        .map_err(|_| Refusal::CaptureFailed);
                    core.leave();
                    core.let_go();
                    done(captured.and_then(|()| remove()));
                });
            }
            // Not one file of it but all: `Store::unlink_database`.
            FileKind::Database => done(Err(Refusal::Os(libc::EPERM))),
        }
    }

    /// SETATTR of the size: does it, after what is lost by it was captured.
    pub fn truncate(self: &Arc<Self>, kind: FileKind, file: Arc<File>, len: u64, done: Completion) {
        let resize = move || file.set_len(len).map_err(Refusal::from);
        match kind {
            FileKind::Journal => self.strand.post(move |core| {
                let result = core.commit_point().and_then(|()| resize());
                core.journal_gone(&result);
                done(result);
            }),
            FileKind::Wal => self.strand.post(move |core| {
                let captured = core
                    .capture(Occasion::End)
                    .map_err(|_| Refusal::CaptureFailed);
                let resized = captured.and_then(|()| resize());
                if resized.is_ok() && len < WalHeader::SIZE as u64 {
                    core.forget_generation();
                }
                done(resized);
            }),
            // A checkpoint leaves at least a page: somebody is about to write another file in place of this one.
            FileKind::Database
                if len == 0 && self.shared.mode() == Mode::Wal && self.shared.env.is_primary() =>
            {
                self.strand.post(move |core| {
                    let captured = core
                        .capture(Occasion::End)
                        .map_err(|_| Refusal::CaptureFailed);
                    let resized = captured.and_then(|()| resize());
                    if resized.is_ok() {
                        core.begin_in_place();
                    }
                    done(resized);
                })
            }
            FileKind::Database => {
                let resized = resize();
                self.shared.dirty.lock().touch();
                done(resized);
            }
            // An application begins a new index, and we have the old one mapped.
            FileKind::Shm => self.strand.post(move |core| {
                // What is in the log stays there: a capture that fails now is tried again.
                let _ = core.capture(Occasion::End);
                core.leave();
                let resized = resize();
                // From here on it can commit without a request.
                core.hold_for_open();
                done(resized);
            }),
        }
    }

    /// Whether a WRITE to the journal would make a valid header invalid: that is the commit of journal_mode=PERSIST.
    pub fn is_commit_write(&self, journal_file: &File, offset: u64, data: &[u8]) -> bool {
        if offset != 0 || data.len() < journal::MAGIC.len() || data.starts_with(&journal::MAGIC) {
            return false;
        }
        let mut magic = [0; journal::MAGIC.len()];
        matches!(read_full(journal_file, &mut magic, 0), Ok(read) if read == magic.len())
            && magic == journal::MAGIC
    }

    /// Such a WRITE: captures, then writes.
    pub fn commit_write(
        self: &Arc<Self>,
        journal_file: Arc<File>,
        data: Vec<u8>,
        done: Completion,
    ) {
        self.shared.counters.writes[FileKind::Journal as usize].fetch_add(1, Ordering::Relaxed);
        self.strand.post(move |core| {
            let result = core
                .commit_point()
                .and_then(|()| journal_file.write_all_at(&data, 0).map_err(Refusal::from));
            core.journal_gone(&result);
            done(result);
        });
    }

    fn must_capture_before_reply(&self, wal: &File) -> bool {
        let probe = self.shared.probe.read().clone();
        // Without a shared index nothing is known: capture.
        let Some(probe) = probe else { return true };
        let mut header = [0; WalHeader::SIZE];
        let salts = match read_full(wal, &mut header, 0) {
            Ok(read) if read == header.len() => {
                WalHeader::parse(&header).ok().map(|header| header.salts)
            }
            _ => None,
        };
        let salts = salts.map(|salts| u64::from(salts.salt1) << 32 | u64::from(salts.salt2));
        salts != Some(self.shared.captured_salts.load(Ordering::Acquire))
            || probe.log_may_restart().unwrap_or(true)
    }

    fn has_much_to_stage(&self) -> bool {
        self.shared.dirty.lock().bytes() >= crate::capture::rollback::STAGE_FROM
    }

    fn wake_after(self: &Arc<Self>, delay: Duration) {
        if !self.shared.wake.delayed.swap(true, Ordering::AcqRel) {
            let db = self.clone();
            self.shared.env.timer.after(delay, move || {
                db.shared.wake.delayed.store(false, Ordering::Release);
                db.wake();
            });
        }
    }
}

impl Core {
    /// Applications let go of the wal-index, or of the database altogether.
    pub(crate) fn on_last_release(&mut self) {
        if self.shared.open_handles(FileKind::Shm) == 0 && self.joined.is_some() {
            // What is published is taken while the index can still be asked.
            let _ = self.capture(Occasion::End);
            self.leave();
        }
        if [FileKind::Shm, FileKind::Wal].map(|kind| self.shared.open_handles(kind)) == [0, 0]
            && self.writer.is_none()
        {
            self.let_go();
        }
        self.leave_wal_if_unused();
        if self.shared.open_handles(FileKind::Database) == 0
            && let Err(error) = self.notice_file_of_another()
        {
            tracing::warn!(database = %self.name(), error = error.chain(), "the closed database could not be read");
        }
    }

    /// The -wal was removed by an application: it was the last one, or it changes the journal mode.
    fn log_is_gone(&mut self) {
        self.forget_generation();
        self.wal.file = None;
        self.wal.watch = None;
        self.held_log_is_gone();
        self.shared.log_gone.store(true, Ordering::Release);
        if self.shared.unseen_writers.load(Ordering::Acquire) > 0 {
            self.watch_database_file();
        }
    }

    /// What the database file is now, only the file itself tells; it is written without a log, maybe unseen.
    pub(crate) fn begin_in_place(&mut self) {
        self.forget_generation();
        self.set_mode(Mode::Empty);
        self.shared.dirty.lock().note_unseen();
        self.watch_database_file();
    }

    fn journal_gone(&mut self, result: &Result<(), Refusal>) {
        if result.is_ok() {
            self.shared.journal_active.store(false, Ordering::Release);
        }
    }
}

pub(crate) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Io { source, .. } => Refusal::Os(source.raw_os_error().unwrap_or(libc::EIO)),
        Error::NotPrimary => Refusal::ReadOnly,
        Error::UnknownDatabase(_) => Refusal::Os(libc::ENOENT),
        _ => Refusal::Os(libc::EIO),
    }
}
