//! Connections at synchronous=OFF restart the log without a sync of its header, so that nothing proves that what came
//! before was captured. Once that was seen, the store holds a read mark as a reader would: what it has not captured is
//! not copied into the database file, and so not overwritten.
//!
//! While frames are not backfilled it is a mark at the last captured one. Once everything is, it is the one that
//! readers of the bare database file hold: then the log may be restarted, once, and nothing is backfilled after that
//! before we looked.

use sqlite::wal::Salts;

use crate::core::Core;
use crate::error::Error;
use crate::locks;
use crate::name::FileKind;

/// One generation of the log was followed by another while the store held a mark: nothing came between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProvenEnd {
    salts: Salts,
    /// Its last frame.
    frame: u32,
    next: Salts,
}

impl Core {
    /// Whether the generation that is captured ended where the capture is, and was followed by `next`.
    pub(super) fn is_proven_end(&self, salts: Salts, frame: u32, next: Salts) -> bool {
        self.wal.proven_end == Some(ProvenEnd { salts, frame, next })
    }

    /// Moves the mark to what is committed now: before frames are captured, so that they stay, and after, so that a
    /// checkpoint can go on.
    pub(super) fn move_read_mark(&mut self) -> Result<(), Error> {
        if !self.wal.unsynced_seen {
            return Ok(());
        }
        self.watch_database_file();
        let Some(joined) = &mut self.joined else {
            return Ok(());
        };
        let Ok(header) = joined.shm.index.header() else {
            // The next wake-up finds it valid.
            return Ok(());
        };
        let captured = header.mx_frame == 0
            || self.wal.chain.as_ref().is_some_and(|chain| {
                chain.salts() == header.salts && chain.frame() >= header.mx_frame
            });
        let backfilled = joined.shm.index.checkpoint_info().backfill >= header.mx_frame;
        let bare = captured && backfilled;
        if joined
            .mark
            .is_some_and(|mark| mark.header == header && (mark.slot == 0) == bare)
        {
            return Ok(());
        }
        let Some(mark) = joined.shm.try_mark(header, bare, joined.mark)? else {
            // Somebody commits or checkpoints at this moment, which wakes us again; the old mark holds until then.
            return Ok(());
        };
        let Some(old) = joined.mark.replace(mark) else {
            return Ok(());
        };
        if old.header.salts != mark.header.salts {
            self.wal.proven_end = Some(ProvenEnd {
                salts: old.header.salts,
                frame: old.header.mx_frame,
                next: mark.header.salts,
            });
        }
        if old.slot != mark.slot {
            joined.shm.end_read(&old)?;
        }
        Ok(())
    }

    /// Whether the mark keeps the log from being restarted although everything is backfilled, or soon will be. (The
    /// end of a checkpoint is no event.)
    pub(super) fn read_mark_is_late(&self) -> bool {
        let Some(joined) = &self.joined else {
            return false;
        };
        let Some(mark) = joined.mark.filter(|mark| mark.slot > 0) else {
            return false;
        };
        let backfill = joined.shm.index.checkpoint_info().backfill;
        backfill >= mark.header.mx_frame
            || locks::is_held_by_another(
                &joined.shm.file,
                sqlite::lock::WAL_CKPT,
                locks::LockKind::Shared,
            )
            .unwrap_or(false)
    }

    /// Wakes the capture when the database file is written without a request.
    pub(crate) fn watch_database_file(&mut self) {
        if self.wal.database_watch.is_none()
            && let Some(db) = self.database()
        {
            let path = self.dir().file(FileKind::Database);
            self.wal.database_watch = Some(self.env().watcher.watch_database(&path, &db));
        }
    }
}
