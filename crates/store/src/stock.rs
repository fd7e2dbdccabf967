//! What a former primary finds in its database files that is not known: writes that came without a journal, of which nobody
//! can say whether they were committed, when the node ceased to be the primary. Nothing of another node is applied over
//! them before they are in `aside/`, and the table says what the pages really are.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlite::lock;

use crate::capture::rollback::JournalPages;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, IoContext};
use crate::layout;
use crate::locks::{self, LockKind};
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::table::ChecksumTable;

/// An application that has a database of a replica for itself longer than this loses it: it cannot commit, and nobody
/// else can go on.
const EXCLUSIVE_FOR: Duration = Duration::from_secs(10);

impl Core {
    /// Looks at what was written and never captured.
    pub(crate) fn take_stock(&mut self) -> Result<(), Error> {
        let unknown = !self.shared.dirty.lock().is_empty();
        if !unknown || self.env().is_primary() || self.shared.is_written_with_log() {
            return Ok(());
        }
        let Some(_locked) = self.try_shared()? else {
            return Err(Error::Busy {
                db: self.name().clone(),
                lock: "SHARED",
                waited_ms: 0,
            });
        };
        let found = self.examine(&JournalPages::default())?;
        let (page_count, changed) = (found.page_count, found.changed.clone());
        let change = self.encode_found(found)?;
        if let Some(transaction) = change.transaction {
            crate::aside::put_transaction_aside(self.env(), self.name(), transaction)?;
            if self.page_size != change.page_size {
                self.table = ChecksumTable::default();
                self.page_size = change.page_size;
            }
            self.table.resize(page_count);
            for (pgno, checksum) in changed {
                self.table.set(pgno, checksum);
            }
            self.set_mode(change.mode);
            self.shared.wants_content.store(true, Ordering::Release);
        }
        self.shared.dirty.lock().clear();
        Ok(())
    }
}

impl Database {
    /// Another node has the database: what is only here is not all there is of it. Durable at some time; most calls do
    /// nothing.
    pub fn note_replicated(&self) {
        if self.shared.replicated.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = layout::write_whole(&self.shared.dir.replicated(), b"") {
            tracing::warn!(database = %self.name(), error = error.chain(), "not noted that it is replicated");
        }
    }

    /// What the directory in `aside/` is to be called: a database that nobody else ever had is not only out of use.
    pub(crate) fn reason_aside(&self, why: &'static str) -> &'static str {
        let has_content = !self.pos().txid.is_zero();
        if has_content && !self.shared.replicated.load(Ordering::Acquire) {
            tracing::error!(database = %self.name(), pos = %self.pos(),
                "the cluster has no such database, and no other node ever had it: putting it aside");
            crate::aside::UNREPLICATED
        } else {
            why
        }
    }

    /// Something could not be applied because the database is locked. Takes it away from an application that has it for
    /// itself for too long.
    pub(crate) fn end_exclusive_use(&self) {
        match self.is_used_exclusively() {
            Ok(true) => {}
            Ok(false) => return *self.shared.blocked.lock() = None,
            Err(error) => {
                tracing::warn!(database = %self.name(), error = error.chain(), "its locks are not known");
                return;
            }
        }
        let since = *self.shared.blocked.lock().get_or_insert_with(Instant::now);
        if since.elapsed() < EXCLUSIVE_FOR {
            return;
        }
        *self.shared.blocked.lock() = None;
        tracing::warn!(database = %self.name(), pos = %self.pos(),
            "an application has the database for itself, on a node that is not the primary: it is taken away from it, so that the \
             replication can go on");
        if let Ok(mount) = self.shared.env.mount() {
            mount.revoke(self.name());
        }
    }

    /// Whether somebody holds a lock that no reader has for longer than a moment.
    fn is_used_exclusively(&self) -> Result<bool, Error> {
        let shared = &self.shared;
        let path = shared.dir.file(FileKind::Database);
        let _own = shared.env.own.enter();
        let how = OpenHow::Existing;
        let handle = shared
            .env
            .open_live(&shared.name, &shared.dir, FileKind::Database, how)?;
        locks::is_held_by_another(&handle, lock::SHARED, LockKind::Shared)
            .during("look at the locks of", &path)
    }
}
