//! Apply to a database in WAL mode: the store is one of SQLite's WAL writers. It appends frames to the -wal, enters
//! them in the wal-index and publishes the header, in SQLite's order and with its fences (`walIndexAppend`,
//! `walIndexWriteHdr`). Readers see the old or the new snapshot; they are never blocked and never block.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use ltx::{PageSize, Pgno};
use sqlite::lock;
use sqlite::wal::{FrameChain, FrameHeader, NATIVE_BIG_ENDIAN, Salts, WalHeader, frame_offset};
use sqlite::wal_index::{CheckpointInfo, WalIndexHeader};

use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::layout::DatabaseDir;
use crate::locks::{self, LockKind};
use crate::mount::OpenHow;
use crate::name::{DbName, FileKind};
use crate::shared_index::{SharedIndex, lock_database_shared, open_database_shared, read_full};
use crate::view::chain_at;

/// Frames are written to the -wal in pieces of about this many bytes.
const PIECE: usize = 1024 * 1024;

/// How long to wait for readers before a log with another page size.
const READERS_WAIT: Duration = Duration::from_secs(5);

/// How long to wait for WAL_WRITE_LOCK when joining.
const WRITE_LOCK_WAIT: Duration = Duration::from_secs(10);

/// A WAL writer on one database.
///
/// Holds SHARED on the database (so that the last application that closes it does not take the log away), the DMS
/// byte, and WAL_WRITE_LOCK: on a replica no application can write, and none can stall the apply.
pub(crate) struct WalWriter {
    shm: SharedIndex,
    wal: File,
    /// Through the mount; SHARED is held on it.
    pub(crate) database: File,
    db: DbName,
    dir: DatabaseDir,
    checkpoint_seq: u32,
}

/// A transaction being appended. Nothing of it is visible before [`Append::commit`]; dropped, it is as if SQLite had
/// spilled frames of a transaction and rolled it back.
pub(crate) struct Append<'a> {
    writer: &'a mut WalWriter,
    header: WalIndexHeader,
    chain: FrameChain,
    piece: Vec<u8>,
    /// Frame number of the first frame in `piece`.
    piece_begins: u32,
    /// The last page, held back: its frame carries the commit.
    held: Option<(Pgno, Vec<u8>)>,
}

impl WalWriter {
    /// Joins a database whose header says WAL, opening its files through the mount.
    pub(crate) fn join(env: &Env, db: &DbName, dir: &DatabaseDir) -> Result<WalWriter, Error> {
        let database = open_database_shared(env, db, dir)?;
        WalWriter::with_database(env, db, dir, database)
    }

    /// Joins with a handle on the database on which SHARED (or EXCLUSIVE) is held.
    pub(crate) fn with_database(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
        database: File,
    ) -> Result<WalWriter, Error> {
        let shm = SharedIndex::join(env, db, dir)?;
        WalWriter::lock_and_join(env, db, dir, database, shm)
    }

    /// Joins with files that were opened before, and maybe locked.
    pub(crate) fn with_locks(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
        database: File,
        shm: File,
    ) -> Result<WalWriter, Error> {
        lock_database_shared(&database, db)?;
        let shm = SharedIndex::of_file(shm, db, dir)?;
        WalWriter::lock_and_join(env, db, dir, database, shm)
    }

    fn lock_and_join(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
        database: File,
        shm: SharedIndex,
    ) -> Result<WalWriter, Error> {
        if !shm.lock_write(WRITE_LOCK_WAIT)? {
            let waited_ms = WRITE_LOCK_WAIT.as_millis() as u64;
            return Err(Error::Busy {
                db: db.clone(),
                lock: "WAL_WRITE_LOCK",
                waited_ms,
            });
        }
        WalWriter::with_index(env, db, dir, database, shm)
    }

    /// Joins with the index, too, whose WAL_WRITE_LOCK is held.
    pub(crate) fn with_index(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
        database: File,
        mut shm: SharedIndex,
    ) -> Result<WalWriter, Error> {
        shm.hold_dms()?;
        shm.header_or_recover()?;
        let wal = env.open_live(db, dir, FileKind::Wal, OpenHow::Create)?;
        Ok(WalWriter {
            shm,
            wal,
            database,
            db: db.clone(),
            dir: dir.clone(),
            checkpoint_seq: 0,
        })
    }

    /// The files, for somebody who is to have the same locks.
    pub(crate) fn files(&self) -> std::io::Result<crate::keeper::Held> {
        Ok(crate::keeper::Held {
            database: self.database.try_clone()?,
            shm: Some(self.shm.file.try_clone()?),
            wal: Some(self.wal.try_clone()?),
        })
    }

    /// Gives all locks back, whoever else has the files open.
    pub(crate) fn unlock(&self) {
        const ALL: lock::LockRange = lock::LockRange { start: 0, len: 0 };
        for file in [&self.database, &*self.shm.file] {
            if let Err(error) = locks::unlock(file, ALL) {
                tracing::error!(database = %self.db, %error, "a lock stays");
            }
        }
    }

    /// Frames that are in the log and not in the database file yet.
    pub(crate) fn backlog(&self) -> u32 {
        match self.shm.index.header() {
            Ok(header) => header
                .mx_frame
                .saturating_sub(self.shm.index.checkpoint_info().backfill),
            Err(_) => 0,
        }
    }

    /// The place after the last commit in the log; `None` if it is empty.
    pub(crate) fn end_of_log(&self) -> Option<FrameChain> {
        self.shm.index.header().ok().as_ref().and_then(chain_at)
    }

    /// Reads (the beginning of) the latest version of a page if it is in the log. `false` if it is in the database file.
    pub(crate) fn read_from_log(&self, pgno: Pgno, page: &mut [u8]) -> Result<bool, Error> {
        let Ok(header) = self.shm.index.header() else {
            return Ok(false);
        };
        let (Some(page_size), Some(frame)) =
            (header.page_size, self.shm.index.find(pgno, header.mx_frame))
        else {
            return Ok(false);
        };
        let offset = frame_offset(page_size, frame) + FrameHeader::SIZE as u64;
        read_full(&self.wal, page, offset).during("read", &self.dir.file(FileKind::Wal))?;
        Ok(true)
    }

    /// Begins a transaction; restarts the log if all of it is in the database file and no reader needs it.
    pub(crate) fn begin(&mut self, page_size: PageSize) -> Result<Append<'_>, Error> {
        let mut header = self
            .shm
            .index
            .header()
            .or_else(|_| self.shm.header_or_recover())?;
        if header.mx_frame > 0 && header.page_size != Some(page_size) {
            // Every page comes anew, so nothing in the log is needed but by those who are reading it.
            self.restart_within(&mut header, READERS_WAIT)?;
        } else {
            self.restart_if_possible(&mut header)?;
        }
        let chain = if header.mx_frame == 0 {
            self.begin_log(page_size, &mut header)?
        } else {
            FrameChain::resume(
                page_size,
                header.salts,
                header.big_endian_checksum,
                header.frame_checksum,
                header.mx_frame,
            )
        };
        let piece_begins = chain.frame() + 1;
        Ok(Append {
            writer: self,
            header,
            chain,
            piece: Vec::new(),
            piece_begins,
            held: None,
        })
    }

    /// `walRestartLog`: only while holding CKPT too, for a checkpointer may be acting on the header that it read.
    fn restart_if_possible(&mut self, header: &mut WalIndexHeader) -> Result<(), Error> {
        if header.mx_frame == 0 || self.shm.index.checkpoint_info().backfill < header.mx_frame {
            return Ok(());
        }
        if !self.shm.try_lock(lock::WAL_CKPT, LockKind::Exclusive)? {
            return Ok(());
        }
        let result = if self.shm.try_lock(lock::WAL_READ_1_4, LockKind::Exclusive)? {
            self.restart(header)
        } else {
            Ok(())
        };
        result.and(self.shm.unlock(lock::WAL_CKPT))
    }

    /// The same, waiting for checkpointers and readers.
    fn restart_within(
        &mut self,
        header: &mut WalIndexHeader,
        limit: Duration,
    ) -> Result<(), Error> {
        self.shm
            .lock(lock::WAL_CKPT, LockKind::Exclusive, "WAL_CKPT_LOCK")?;
        let result = if self.shm.lock_within(lock::WAL_READ_1_4, limit)? {
            self.restart(header)
        } else {
            let waited_ms = limit.as_millis() as u64;
            Err(Error::Busy {
                db: self.db.clone(),
                lock: "a read mark",
                waited_ms,
            })
        };
        result.and(self.shm.unlock(lock::WAL_CKPT))
    }

    /// With CKPT and the read marks held: the log begins anew.
    fn restart(&mut self, header: &mut WalIndexHeader) -> Result<(), Error> {
        self.checkpoint_seq = self.checkpoint_seq.wrapping_add(1);
        header.mx_frame = 0;
        header.salts = header.salts.next(rand::random());
        self.shm.index.publish(header);
        self.shm
            .index
            .set_checkpoint_info(CheckpointInfo::RESTARTED);
        self.shm.unlock(lock::WAL_READ_1_4)
    }

    /// Writes the header of a new generation.
    fn begin_log(
        &mut self,
        page_size: PageSize,
        header: &mut WalIndexHeader,
    ) -> Result<FrameChain, Error> {
        Ok(FrameChain::new(&self.write_log_header(page_size, header)?))
    }

    fn write_log_header(
        &mut self,
        page_size: PageSize,
        header: &mut WalIndexHeader,
    ) -> Result<WalHeader, Error> {
        if header.salts == (Salts { salt1: 0, salt2: 0 }) {
            header.salts = Salts {
                salt1: rand::random(),
                salt2: rand::random(),
            };
        }
        header.page_size = Some(page_size);
        header.big_endian_checksum = NATIVE_BIG_ENDIAN;
        let log = WalHeader::new(page_size, self.checkpoint_seq, header.salts);
        self.wal
            .write_all_at(&log.encode(), 0)
            .during("write", &self.dir.file(FileKind::Wal))?;
        Ok(log)
    }

    /// The log is empty: writes the header of the generation that the index speaks of.
    pub(crate) fn write_header(&mut self, page_size: PageSize) -> Result<WalHeader, Error> {
        let mut header = self
            .shm
            .index
            .header()
            .or_else(|_| self.shm.header_or_recover())?;
        let before = header;
        let log = self.write_log_header(page_size, &mut header)?;
        if header != before {
            header.change = header.change.wrapping_add(1);
            self.shm.index.publish(&header);
        }
        Ok(log)
    }

    /// Turns SHARED into EXCLUSIVE, if no application has the database open. For leaving WAL mode.
    pub(crate) fn try_exclusive(&self) -> Result<bool, Error> {
        let path = self.dir.file(FileKind::Database);
        if !locks::try_lock(&self.database, lock::PENDING, LockKind::Exclusive)
            .during("lock", &path)?
        {
            return Ok(false);
        }
        let taken = locks::try_lock(&self.database, lock::SHARED, LockKind::Exclusive)
            .during("lock", &path)?;
        if !taken {
            locks::unlock(&self.database, lock::PENDING).during("unlock", &path)?;
        }
        Ok(taken)
    }
}

impl Append<'_> {
    /// Adds a page.
    pub(crate) fn page(&mut self, pgno: Pgno, page: &[u8]) -> Result<(), Error> {
        if let Some((before, mut content)) = self.held.take() {
            self.frame(before, 0, &content)?;
            content.clear();
            content.extend_from_slice(page);
            self.held = Some((pgno, content));
        } else {
            self.held = Some((pgno, page.to_vec()));
        }
        Ok(())
    }

    /// Ends the transaction: from here on readers see it. A transaction without a page changes nothing.
    pub(crate) fn commit(mut self, page_count: u32) -> Result<(), Error> {
        let Some((pgno, page)) = self.held.take() else {
            return Ok(());
        };
        self.frame(pgno, page_count, &page)?;
        self.write_piece()?;
        self.header.mx_frame = self.chain.frame();
        self.header.page_count = page_count;
        self.header.frame_checksum = self.chain.checksum();
        self.header.change = self.header.change.wrapping_add(1);
        self.writer.shm.index.publish(&self.header);
        Ok(())
    }

    fn frame(&mut self, pgno: Pgno, commit: u32, page: &[u8]) -> Result<(), Error> {
        self.chain.append(pgno, commit, page, &mut self.piece);
        let path = self.writer.dir.file(FileKind::Shm);
        self.writer
            .shm
            .index
            .append(self.chain.frame(), pgno, self.header.mx_frame)
            .during("enter a frame into", &path)?;
        if self.piece.len() >= PIECE {
            self.write_piece()?;
        }
        Ok(())
    }

    fn write_piece(&mut self) -> Result<(), Error> {
        let offset = frame_offset(self.chain.page_size(), self.piece_begins);
        self.writer
            .wal
            .write_all_at(&self.piece, offset)
            .during("write", &self.writer.dir.file(FileKind::Wal))?;
        self.piece.clear();
        self.piece_begins = self.chain.frame() + 1;
        Ok(())
    }
}
