//! The wal-index of a live database: joining it as a connection of SQLite's would, and building it when there is
//! none (WAL-Index Format; `unixOpenSharedMemory` and `walIndexRecover` are what the steps answer to).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlite::lock::{self, LockRange};
use sqlite::wal::{FrameChain, WalHeader};
use sqlite::wal_index::{Access, CheckpointInfo, READ_MARK_NOT_USED, WalIndex, WalIndexHeader};

use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::layout::DatabaseDir;
use crate::locks::{self, LockKind};
use crate::mount::OpenHow;
use crate::name::{DbName, FileKind};

/// How long to wait for a lock that connections hold for moments only.
const MOMENT: Duration = Duration::from_secs(5);

/// All wal-index locks but WRITE: what a recovery takes (CKPT, RECOVER, READ0 to READ4).
const ALL_BUT_WRITE: LockRange = LockRange { start: 121, len: 7 };

/// A -shm opened through the mount.
pub(crate) struct SharedIndex {
    pub(crate) file: Arc<File>,
    pub(crate) index: WalIndex,
    db: DbName,
    dir: DatabaseDir,
}

impl SharedIndex {
    /// Joins the index of a database as a connection does; creates the -shm if it is not there. Holds the DMS byte shared:
    /// nobody takes the index for abandoned and shortens it while this lives. (An index of before a crash of the machine
    /// is not found here: a start removes it. So whoever is the first one need not begin a new one.)
    pub(crate) fn join(env: &Env, db: &DbName, dir: &DatabaseDir) -> Result<SharedIndex, Error> {
        let name = dir.file(FileKind::Shm);
        let file = env.open_live(db, dir, FileKind::Shm, OpenHow::Create)?;
        // Who is the first one has it exclusively for a moment.
        take(&file, lock::WAL_DMS, LockKind::Shared, "DMS", db)?;
        SharedIndex::with_file(file, &name, db, dir)
    }

    /// Holds the DMS byte from here on, as one who was there before.
    pub(crate) fn hold_dms(&self) -> Result<(), Error> {
        take(&self.file, lock::WAL_DMS, LockKind::Shared, "DMS", &self.db)
    }

    /// Joins the index that an application has opened, without a lock. Newer versions of SQLite ask who else has the DMS
    /// byte, and do not let a connection leave WAL mode, or become exclusive, while somebody has. The file can become
    /// shorter then: whoever has this must let go of it first, see `Database::truncate`.
    pub(crate) fn join_others(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
    ) -> Result<SharedIndex, Error> {
        let name = dir.file(FileKind::Shm);
        let file = env.open_live(db, dir, FileKind::Shm, OpenHow::Existing)?;
        SharedIndex::with_file(file, &name, db, dir)
    }

    /// The index in a -shm that was opened before.
    pub(crate) fn of_file(
        file: File,
        db: &DbName,
        dir: &DatabaseDir,
    ) -> Result<SharedIndex, Error> {
        SharedIndex::with_file(file, &dir.file(FileKind::Shm), db, dir)
    }

    fn with_file(
        file: File,
        name: &Path,
        db: &DbName,
        dir: &DatabaseDir,
    ) -> Result<SharedIndex, Error> {
        let mapped = file.try_clone().during("duplicate", name)?;
        let index = WalIndex::open(mapped, Access::ReadWrite).during("map", name)?;
        Ok(SharedIndex {
            file: Arc::new(file),
            index,
            db: db.clone(),
            dir: dir.clone(),
        })
    }

    /// Takes WAL_WRITE_LOCK, waiting for a writer to finish.
    pub(crate) fn lock_write(&self, limit: Duration) -> Result<bool, Error> {
        self.lock_within(lock::WAL_WRITE, limit)
    }

    /// Takes WAL_WRITE_LOCK also from a writer that commits all the time.
    pub(crate) fn lock_write_eagerly(&self, limit: Duration) -> Result<bool, Error> {
        locks::lock_eagerly(&self.file, lock::WAL_WRITE, LockKind::Exclusive, limit)
            .during("lock", &self.dir.file(FileKind::Shm))
    }

    /// Gives WAL_WRITE_LOCK back.
    pub(crate) fn unlock_write(&self) -> Result<(), Error> {
        self.unlock(lock::WAL_WRITE)
    }

    /// Takes a lock at once or not at all.
    pub(crate) fn try_lock(&self, range: LockRange, kind: LockKind) -> Result<bool, Error> {
        locks::try_lock(&self.file, range, kind).during("lock", &self.dir.file(FileKind::Shm))
    }

    /// Takes a lock exclusively within a time. `false` if it was not to be had.
    pub(crate) fn lock_within(&self, range: LockRange, limit: Duration) -> Result<bool, Error> {
        locks::lock_within(&self.file, range, LockKind::Exclusive, limit)
            .during("lock", &self.dir.file(FileKind::Shm))
    }

    /// Takes a lock that others hold for moments only.
    pub(crate) fn lock(
        &self,
        range: LockRange,
        kind: LockKind,
        name: &'static str,
    ) -> Result<(), Error> {
        take(&self.file, range, kind, name, &self.db)
    }

    /// Somebody was in the way for too long.
    pub(crate) fn busy(&self, lock: &'static str, waited: Duration) -> Error {
        Error::Busy {
            db: self.db.clone(),
            lock,
            waited_ms: waited.as_millis() as u64,
        }
    }

    pub(crate) fn unlock(&self, range: LockRange) -> Result<(), Error> {
        locks::unlock(&self.file, range).during("unlock", &self.dir.file(FileKind::Shm))
    }

    /// The header; if there is no valid one it is built from the -wal, as SQLite's recovery does. WAL_WRITE_LOCK must
    /// be held.
    pub(crate) fn header_or_recover(&mut self) -> Result<WalIndexHeader, Error> {
        if let Ok(header) = self.index.header() {
            return Ok(header);
        }
        self.lock(ALL_BUT_WRITE, LockKind::Exclusive, "the wal-index")?;
        let built = self.build(&self.dir.file(FileKind::Wal));
        self.unlock(ALL_BUT_WRITE)?;
        built
    }

    fn build(&mut self, wal: &Path) -> Result<WalIndexHeader, Error> {
        let mut header = WalIndexHeader {
            change: 1,
            is_init: true,
            big_endian_checksum: sqlite::wal::NATIVE_BIG_ENDIAN,
            page_size: None,
            mx_frame: 0,
            page_count: 0,
            frame_checksum: sqlite::wal::WalChecksum::ZERO,
            salts: sqlite::wal::Salts { salt1: 0, salt2: 0 },
        };
        self.index.reserve(0).during("extend", wal)?;
        if let Some(file) = open_existing(wal)?
            && let Some(log) = read_header(&file, wal)?
        {
            self.enter_frames(&file, wal, &log, &mut header)?;
        }
        self.index.set_checkpoint_info(CheckpointInfo {
            backfill: 0,
            read_marks: recovered_marks(header.mx_frame),
            backfill_attempted: header.mx_frame,
        });
        self.index.publish(&header);
        Ok(header)
    }

    fn enter_frames(
        &mut self,
        file: &File,
        path: &Path,
        log: &WalHeader,
        header: &mut WalIndexHeader,
    ) -> Result<(), Error> {
        let mut chain = FrameChain::new(log);
        header.salts = log.salts;
        header.big_endian_checksum = log.big_endian_checksum;
        header.page_size = Some(log.page_size);
        let mut frame = vec![0; chain.frame_size()];
        loop {
            let number = chain.frame() + 1;
            let read = read_full(
                file,
                &mut frame,
                sqlite::wal::frame_offset(log.page_size, number),
            );
            if read.during("read", path)? < frame.len() {
                return Ok(());
            }
            let Ok((entry, next)) = chain.next(&frame) else {
                return Ok(());
            };
            self.index
                .append(number, entry.pgno, 0)
                .during("enter a frame into the wal-index of", path)?;
            if entry.is_commit() {
                header.mx_frame = number;
                header.page_count = entry.commit;
                header.frame_checksum = next.checksum();
            }
            chain = next;
        }
    }
}

fn recovered_marks(mx_frame: u32) -> [u32; sqlite::wal_index::READ_MARKS] {
    let first = if mx_frame == 0 {
        READ_MARK_NOT_USED
    } else {
        mx_frame
    };
    [
        0,
        first,
        READ_MARK_NOT_USED,
        READ_MARK_NOT_USED,
        READ_MARK_NOT_USED,
    ]
}

fn take(
    file: &File,
    range: LockRange,
    kind: LockKind,
    lock: &'static str,
    db: &DbName,
) -> Result<(), Error> {
    let taken = locks::lock_within(file, range, kind, MOMENT).map_err(|source| Error::Io {
        what: format!("database {db}: lock {lock}"),
        source,
    })?;
    if taken {
        Ok(())
    } else {
        Err(Error::Busy {
            db: db.clone(),
            lock,
            waited_ms: MOMENT.as_millis() as u64,
        })
    }
}

/// Takes SHARED on a database file as SQLite does: PENDING first, so that a writer who waits is not starved.
pub(crate) fn lock_database_shared(file: &File, db: &DbName) -> Result<(), Error> {
    take(file, lock::PENDING, LockKind::Shared, "PENDING", db)?;
    let shared = take(file, lock::SHARED, LockKind::Shared, "SHARED", db);
    let released = locks::unlock(file, lock::PENDING).map_err(|source| Error::Io {
        what: format!("database {db}: unlock PENDING"),
        source,
    });
    shared.and(released)
}

/// Opens a live database and takes SHARED on it, as a reader does. The lock goes with the file.
pub(crate) fn open_database_shared(
    env: &Env,
    db: &DbName,
    dir: &DatabaseDir,
) -> Result<File, Error> {
    let database = env.open_live(db, dir, FileKind::Database, OpenHow::Existing)?;
    lock_database_shared(&database, db)?;
    Ok(database)
}

/// The same within a time. `None` if a connection has the database for itself.
pub(crate) fn try_database_shared(
    env: &Env,
    db: &DbName,
    dir: &DatabaseDir,
    limit: Duration,
) -> Result<Option<File>, Error> {
    let path = dir.file(FileKind::Database);
    let database = env.open_live(db, dir, FileKind::Database, OpenHow::Existing)?;
    let shared =
        |range| locks::lock_within(&database, range, LockKind::Shared, limit).during("lock", &path);
    if !shared(lock::PENDING)? {
        return Ok(None);
    }
    let taken = shared(lock::SHARED)?;
    locks::unlock(&database, lock::PENDING).during("unlock", &path)?;
    Ok(taken.then_some(database))
}

/// Opens a file for reading; `None` if it does not exist.
pub(crate) fn open_existing(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("open", path),
    }
}

/// The header of a -wal; `None` if it is not there or not (yet) valid: then the log is empty for SQLite, too.
pub(crate) fn read_header(file: &File, path: &Path) -> Result<Option<WalHeader>, Error> {
    let mut bytes = [0; WalHeader::SIZE];
    let read = read_full(file, &mut bytes, 0).during("read", path)?;
    Ok(if read < bytes.len() {
        None
    } else {
        WalHeader::parse(&bytes).ok()
    })
}

/// Reads until the buffer is full or the file ends; returns how much.
pub(crate) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Reads until the buffer is full; an error if the file ends before.
pub(crate) fn read_exact(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    if read_full(file, buffer, offset)? < buffer.len() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
