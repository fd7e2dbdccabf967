//! The journal of an application that died within a transaction. SQLite's next reader plays it back; whoever reads the
//! database as a reader does, here, has to do the same.

use std::fs::File;
use std::sync::atomic::Ordering;

use sqlite::lock;

use crate::apply::rollback::lock_exclusive;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, IoContext};
use crate::locks::{self, LockKind};
use crate::name::FileKind;
use crate::recovery::journal as playback;
use crate::view::Locked;

impl Database {
    /// Takes the locks of a reader. Not on the strand: who holds one of them may be waiting for the strand.
    pub(crate) fn lock_as_reader(&self) -> Result<Locked, Error> {
        let shared = &self.shared;
        loop {
            let wal = shared.is_written_with_log();
            let locked = Locked::take(&shared.env, &shared.name, &shared.dir, wal)?;
            let may_be_hot =
                shared.env.is_primary() || shared.journal_active.load(Ordering::Acquire);
            if wal || !may_be_hot || !self.has_hot_journal(&locked)? {
                return Ok(locked);
            }
            drop(locked);
            let exclusive = lock_exclusive(shared)?;
            self.roll_back_hot(&exclusive)?;
        }
    }

    /// `hasHotJournal`: a valid journal, and nobody who could be writing it.
    fn has_hot_journal(&self, locked: &Locked) -> Result<bool, Error> {
        let path = self.shared.dir.file(FileKind::Database);
        let writer =
            locks::is_held_by_another(locked.database(), lock::RESERVED, LockKind::Exclusive)
                .during("look at the locks of", &path)?;
        Ok(!writer && playback::open_valid(&self.shared.dir)?.is_some())
    }

    /// On a node that ceased to be the primary within a transaction of an application: nothing can be applied before that
    /// is rolled back, by the application itself or, if it died, here.
    pub(crate) fn end_abandoned_transaction(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let open = shared.journal_active.load(Ordering::Acquire);
        if !open || shared.env.is_primary() || shared.is_written_with_log() {
            return Ok(());
        }
        let _own = shared.env.own.enter();
        let exclusive = lock_exclusive(shared)?;
        self.roll_back_hot(&exclusive)
    }

    /// Plays the journal back, if there is a valid one; EXCLUSIVE is held on `database`, so that it is nobody's.
    pub(crate) fn roll_back_hot(&self, database: &File) -> Result<(), Error> {
        let shared = &self.shared;
        let Some(mut journal) = playback::open_valid(&shared.dir)? else {
            shared.journal_active.store(false, Ordering::Release);
            return Ok(());
        };
        if !playback::is_committed(&journal, &shared.dir) {
            tracing::info!(database = %shared.name, "rolling back the transaction of an application that died");
            playback::restore(&mut journal, database, &shared.dir)?;
        }
        // Free pages that the transaction used again are in no journal: they may differ now.
        self.call(Core::capture_rolled_back)??;
        let path = shared.dir.file(FileKind::Journal);
        // Not on the strand: it takes the directory, whose holder may be waiting for the strand.
        let mount = shared.env.mount()?;
        mount
            .unlink(&shared.name, FileKind::Journal)
            .during("remove", &path)?;
        shared.journal_active.store(false, Ordering::Release);
        Ok(())
    }
}
