//! Checkpoints on a replica: copying frames into the database file, so that the log can be restarted. The passive
//! checkpoint of SQLite (`walCheckpoint`), as a connection of its own: it waits for nobody, and readers and the apply
//! go on. It runs beside the strand, because it syncs files.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ltx::Pgno;
use sqlite::lock;
use sqlite::wal::{FrameHeader, frame_offset};
use sqlite::wal_index::{READ_MARK_NOT_USED, READ_MARKS, WalIndexHeader};

use crate::core::Core;
use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::layout::DatabaseDir;
use crate::locks::LockKind;
use crate::name::{DbName, FileKind};
use crate::shared::Shared;
use crate::shared_index::{SharedIndex, open_database_shared, read_exact};

/// A checkpoint begins when so many frames are not in the database file yet. SQLite's own default.
const BACKLOG: u32 = 1000;

impl Core {
    /// Starts a checkpoint if there is enough to do.
    pub(crate) fn checkpoint_if_due(&self) {
        if self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.backlog() >= BACKLOG)
        {
            self.checkpoint_in_background();
        }
    }

    /// Starts a checkpoint on another thread, if none is running.
    pub(crate) fn checkpoint_in_background(&self) {
        if self.shared.checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared: Arc<Shared> = self.shared.clone();
        self.env().pool.spawn(move || {
            let _running = shared.checkpoint.lock();
            if shared.is_closed() {
                return;
            }
            if let Err(error) = checkpoint(&shared.env, &shared.name, &shared.dir) {
                tracing::warn!(database = %shared.name, error = error.chain(), "checkpoint");
            }
            shared.checkpointing.store(false, Ordering::Release);
        });
    }
}

/// Copies what readers allow.
pub(crate) fn checkpoint(env: &Env, db: &DbName, dir: &DatabaseDir) -> Result<(), Error> {
    let database = open_database_shared(env, db, dir)?;
    let shm = SharedIndex::join(env, db, dir)?;
    if !shm.try_lock(lock::WAL_CKPT, LockKind::Exclusive)? {
        // An application is at it.
        return Ok(());
    }
    let Ok(header) = shm.index.header() else {
        return Ok(());
    };
    let safe = safe_frame(&shm, header.mx_frame)?;
    let done = shm.index.checkpoint_info().backfill;
    if safe <= done || !shm.try_lock(lock::wal_read(0), LockKind::Exclusive)? {
        return Ok(());
    }
    // Without readers of the bare database file it may be written.
    let copied = backfill(&shm, &database, dir, &header, done, safe);
    copied.and(shm.unlock(lock::wal_read(0)))
    // CKPT goes with the handle.
}

/// The last frame that may be copied: not beyond what the oldest reader sees. Marks that nobody uses are moved on.
fn safe_frame(shm: &SharedIndex, mx_frame: u32) -> Result<u32, Error> {
    let mut safe = mx_frame;
    let marks = shm.index.checkpoint_info().read_marks;
    for (slot, &mark) in marks.iter().enumerate().take(READ_MARKS).skip(1) {
        if safe <= mark {
            continue;
        }
        if shm.try_lock(lock::wal_read(slot), LockKind::Exclusive)? {
            shm.index
                .set_read_mark(slot, if slot == 1 { safe } else { READ_MARK_NOT_USED });
            shm.unlock(lock::wal_read(slot))?;
        } else {
            safe = mark;
        }
    }
    Ok(safe)
}

fn backfill(
    shm: &SharedIndex,
    database: &File,
    dir: &DatabaseDir,
    header: &WalIndexHeader,
    done: u32,
    safe: u32,
) -> Result<(), Error> {
    let Some(page_size) = header.page_size else {
        return Ok(());
    };
    let (path, wal_path) = (dir.file(FileKind::Database), dir.file(FileKind::Wal));
    let wal = File::open(&wal_path).during("open", &wal_path)?;
    // The log first: a database file that is half new needs it after a crash.
    wal.sync_data().during("sync", &wal_path)?;
    shm.index.set_backfill_attempted(safe);
    let mut latest: std::collections::BTreeMap<Pgno, u32> = Default::default();
    for frame in done + 1..=safe {
        if let Some(pgno) = shm
            .index
            .page_of_frame(frame)
            .filter(|pgno| pgno.get() <= header.page_count)
        {
            latest.insert(pgno, frame);
        }
    }
    let mut page = vec![0; page_size.bytes()];
    for (pgno, frame) in latest {
        read_exact(
            &wal,
            &mut page,
            frame_offset(page_size, frame) + FrameHeader::SIZE as u64,
        )
        .during("read", &wal_path)?;
        database
            .write_all_at(&page, page_size.offset(pgno))
            .during("write", &path)?;
    }
    // Only if nothing was appended meanwhile: what was may need the pages again.
    if shm.index.header().is_ok_and(|now| now.mx_frame == safe) {
        let length = u64::from(header.page_count) * u64::from(page_size.get());
        if database.metadata().during("stat", &path)?.len() > length {
            database.set_len(length).during("shorten", &path)?;
        }
    }
    database.sync_data().during("sync", &path)?;
    shm.index.set_backfill(safe);
    Ok(())
}
