//! Fencing: that no application can commit on this node any more, in whatever it is.
//!
//! In the rollback modes the commit point is a request, which is refused. In WAL mode it is none: the store takes the
//! locks that a writer needs, as it holds them on a replica. A connection that cannot be locked out in time (a long
//! transaction, exclusive locking mode) loses its files: every handle on them fails from then on, while new opens work.
//!
//! A fenced node is a replica that follows nobody: becoming one, or the primary again, is all that is left to do.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::apply::wal_writer::WalWriter;
use crate::capture::{LatchKind, Occasion};
use crate::core::{Core, Joined};
use crate::database::Database;
use crate::error::{Error, IoContext as _};
use crate::locks::{self, LockKind};
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::role::Role;
use crate::shared_index::SharedIndex;
use crate::status::Mode;
use crate::store::Store;
use sqlite::lock;

impl Store {
    /// Lets applications commit: the term has begun, or the handoff came to nothing.
    pub fn admit(&self) {
        if self.role().is_primary() && !self.env().is_primary() {
            self.env().set_admitting(true);
            self.take_up_role();
        }
    }

    /// Keeps applications from committing, without taking anything away from them; the role stays, and so do the
    /// streams. What is committed is captured when this returns. An error names a database of which that could not be had
    /// within `within`; then they may commit as before.
    pub fn freeze(&self, within: Duration) -> Result<(), Error> {
        if !self.role().is_primary() {
            return Err(Error::NotPrimary);
        }
        let deadline = Instant::now() + within;
        let _reserved = self.reserve(deadline)?;
        self.env().set_admitting(false);
        let left = deadline.saturating_duration_since(Instant::now());
        let late = self.lock_out(left, Database::is_open);
        let Some(first) = late.into_iter().next() else {
            return Ok(());
        };
        self.admit();
        Err(Error::Busy {
            db: first.name().clone(),
            lock: "WAL_WRITE_LOCK",
            waited_ms: within.as_millis() as u64,
        })
    }

    /// Waits until no application is within a transaction in a rollback mode, and lets none begin while the files live: the
    /// commit point of such a transaction would be refused, which the application sees as a failure of its disk. Later
    /// ones are refused where they begin, with "attempt to write a readonly database".
    ///
    /// In exclusive locking mode a connection has its locks for ever: it is refused at its commit point all the same.
    fn reserve(&self, deadline: Instant) -> Result<Vec<File>, Error> {
        let _own = self.env().own.enter();
        let mut reserved = Vec::new();
        for db in self.all_databases() {
            let open = db.shared.open_handles(FileKind::Database) > 0;
            if !open || db.shared.is_written_with_log() {
                continue;
            }
            let path = db.shared.dir.file(FileKind::Database);
            let (name, dir) = (db.name(), &db.shared.dir);
            let file = (self.env()).open_live(name, dir, FileKind::Database, OpenHow::Existing)?;
            let start = Instant::now();
            let left = deadline.saturating_duration_since(start);
            if locks::lock_eagerly(&file, lock::RESERVED, LockKind::Exclusive, left)
                .during("lock", &path)?
            {
                reserved.push(file);
            } else if !locks::is_held_by_another(&file, lock::SHARED, LockKind::Shared)
                .during("look at the locks of", &path)?
            {
                return Err(Error::Busy {
                    db: name.clone(),
                    lock: "RESERVED",
                    waited_ms: start.elapsed().as_millis() as u64,
                });
            }
        }
        Ok(reserved)
    }

    /// Keeps applications from committing, whatever that takes: those that cannot be locked out within `within` lose their
    /// files. The role is none afterwards.
    pub fn fence(&self, within: Duration) -> Result<(), Error> {
        self.env().set_admitting(false);
        for db in self.lock_out(within, Database::can_commit_unseen) {
            tracing::warn!(database = %db.name(), pos = %db.pos(),
                "an application could not be locked out in time: its files are taken away from it, it gets \"disk I/O error\" and has to connect anew");
            self.take_away(&db);
        }
        self.announce_role(Role::None)
    }

    /// Takes the locks, of all databases at the same time; returns those of which it could not have them, and for which
    /// that `matters`.
    fn lock_out(&self, within: Duration, matters: fn(&Database) -> bool) -> Vec<Arc<Database>> {
        let deadline = Instant::now() + within;
        let (done, locked_out) = mpsc::channel();
        let mut waiting = BTreeMap::new();
        for db in self.all_databases() {
            let (name, done) = (db.name().clone(), done.clone());
            db.strand.post(move |core| {
                let left = deadline.saturating_duration_since(Instant::now());
                let result = core.stop_committing(left);
                // Nobody waits any more when it comes late.
                let _ = done.send((name, result));
            });
            if matters(&db) {
                waiting.insert(db.name().clone(), db);
            }
        }
        while !waiting.is_empty() {
            // A strand that is within something else is given a little time beyond that of the locks.
            let left = deadline.saturating_duration_since(Instant::now()) + GRACE;
            let Ok((name, result)) = locked_out.recv_timeout(left) else {
                break;
            };
            match result {
                Ok(true) => drop(waiting.remove(&name)),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(database = %name, error = error.chain(), "not locked");
                }
            }
        }
        waiting.into_values().collect()
    }

    /// Revokes the files of a database, and joins what there is after that.
    fn take_away(&self, db: &Arc<Database>) {
        let failed = match self.env().mount() {
            Ok(mount) => mount.revoke(db.name()),
            Err(_) => return,
        };
        if !failed.is_empty() {
            tracing::error!(database = %db.name(), files = ?failed,
                "could not be taken away: what is committed there now is not replicated, and goes aside later");
        }
        db.strand.post(Core::begin_anew_after_revocation);
    }
}

/// How much longer than its lock a strand may take.
const GRACE: Duration = Duration::from_millis(20);

impl Database {
    /// Whether some application has it open: what it committed without a journal may not be captured yet.
    fn is_open(&self) -> bool {
        self.shared.open_handles(FileKind::Database) > 0 || self.can_commit_unseen()
    }

    /// Whether some application has a handle through which it can commit without a request.
    fn can_commit_unseen(&self) -> bool {
        let open = |kind| self.shared.open_handles(kind) > 0;
        self.shared.is_written_with_log() && (open(FileKind::Wal) || open(FileKind::Shm))
    }
}

impl Core {
    /// The node may not commit any more: becomes the only writer of a database in WAL mode, and captures what was committed
    /// until then. `false` if that could not be had within `within`.
    pub(crate) fn stop_committing(&mut self, within: Duration) -> Result<bool, Error> {
        let over = self.env().is_primary() || self.shared.is_closed();
        if over || self.writer.is_some() {
            // Thawed meanwhile, or locked and captured already.
            return Ok(true);
        }
        let unseen = self.database().is_some_and(|db| db.can_commit_unseen());
        if self.mode() != Mode::Wal || !unseen {
            self.capture_or_owe();
            if !unseen {
                // Nobody has it open, and whoever opens it waits.
                self.be_only_writer()?;
            }
            return Ok(true);
        }
        let deadline = Instant::now() + within;
        self.join_if_open()?;
        let left = || deadline.saturating_duration_since(Instant::now());
        let Some(database) =
            crate::shared_index::try_database_shared(self.env(), self.name(), self.dir(), left())?
        else {
            return Ok(false);
        };
        if self.joined.is_none() {
            let shm = SharedIndex::join(self.env(), self.name(), self.dir())?;
            self.joined = Some(Joined { shm, mark: None });
        }
        if let Some(joined) = &self.joined
            && !joined.shm.lock_write_eagerly(left())?
        {
            return Ok(false);
        }
        self.capture_or_owe();
        let Some(Joined { shm, mark }) = self.joined.take() else {
            return Ok(true);
        };
        if let Some(mark) = mark {
            // The file stays open, and with it the lock would: no checkpoint would get past it.
            shm.end_read(&mark)?;
        }
        self.leave();
        let writer = WalWriter::with_index(self.env(), self.name(), self.dir(), database, shm)?;
        self.set_writer(Some(writer));
        Ok(true)
    }

    /// Captures what was committed until now. If that fails (the disk is full) it is still to be done: nothing of another
    /// node is applied before.
    fn capture_or_owe(&mut self) {
        let captured = self.capture_last();
        let owes = captured.is_err();
        self.shared.owes_capture.store(owes, Ordering::Release);
        if !owes {
            self.forget_generation();
        }
    }

    /// Captures what could not be captured when the node ceased to be the primary.
    pub(crate) fn pay_capture(&mut self) -> Result<(), Error> {
        if !self.shared.owes_capture.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.writer.as_ref().and_then(WalWriter::end_of_log) {
            Some(end) => self.in_last_term(|core| core.capture_published(&end))?,
            None => self.capture_last()?,
        }
        self.shared.owes_capture.store(false, Ordering::Release);
        self.leave();
        self.forget_generation();
        tracing::info!(database = %self.name(), pos = %self.pos(), "captured what was left");
        Ok(())
    }

    /// Captures what was committed while this node still could.
    fn capture_last(&mut self) -> Result<(), Error> {
        self.in_last_term(|core| core.capture(Occasion::Sync))
    }

    /// A capture of what was committed before the node ceased to be the primary, if it ever was.
    fn in_last_term(
        &mut self,
        capture: impl FnOnce(&mut Core) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.env().term().get() == 0 {
            return Ok(());
        }
        self.last_words = true;
        let captured = capture(self);
        self.last_words = false;
        captured
    }

    /// All handles that there were on the files are dead, also ours. The old wal-index may still be mapped by those who
    /// lost it: there is a new one from here on, made of what is in the log.
    fn begin_anew_after_revocation(&mut self) {
        if self.env().is_primary() || self.shared.is_closed() {
            return;
        }
        let result = self.replace_index();
        self.latch(LatchKind::Role, &result);
    }

    fn replace_index(&mut self) -> Result<(), Error> {
        self.leave();
        self.set_writer(None);
        self.let_go();
        let path = self.dir().file(FileKind::Shm);
        crate::layout::remove_if_exists(&path)?;
        self.env().forget_name(&self.name().file(FileKind::Shm));
        self.shared.shm_named.store(false, Ordering::Release);
        let writer = WalWriter::join(self.env(), self.name(), self.dir())?;
        self.set_writer(Some(writer));
        // What the log has is committed, as every connection to come will see it.
        self.shared.owes_capture.store(true, Ordering::Release);
        self.pay_capture()
    }
}
