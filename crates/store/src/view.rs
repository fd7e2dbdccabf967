//! A consistent view of a live database at one commit, for snapshots, exports and comparisons with the table.
//!
//! In WAL mode it is a reader: it holds a read mark, and SHARED on the database, so that the last connection that closes
//! does not take the log away. If everything is backfilled the view is the database file alone; else the log cannot be
//! restarted, and the view is the frames that are not backfilled yet over the database file. Writers, checkpoints and
//! readers go on. In the rollback modes it holds SHARED, as a reader does: a writer cannot commit meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use ltx::{PageSize, Pgno};
use sqlite::header::DatabaseHeader;
use sqlite::lock;
use sqlite::wal::{FrameChain, FrameHeader, frame_offset};
use sqlite::wal_index::WalIndexHeader;

use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::layout::DatabaseDir;
use crate::locks::LockKind;
use crate::name::{DbName, FileKind};
use crate::shared_index::{SharedIndex, open_database_shared, open_existing, read_full};
use crate::shown_counter::ShownCounter;

/// See the module. The locks are held until it is dropped.
pub(crate) struct View {
    page_size: PageSize,
    page_count: u32,
    database: File,
    database_path: PathBuf,
    shown_counter: Option<ShownCounter>,
    log: Option<Log>,
    _locked: Locked,
}

/// The frames over the database file.
struct Log {
    file: File,
    path: PathBuf,
    /// Page -> latest frame.
    frames: HashMap<Pgno, u32>,
}

/// The locks of a view. Open-file-description locks live as long as the files.
///
/// To be taken where nobody waits for the strand of the database: who holds one of them may be waiting for it.
pub(crate) struct Locked {
    database: File,
    shm: Option<SharedIndex>,
}

impl Locked {
    /// The handle that holds SHARED.
    pub(crate) fn database(&self) -> &File {
        &self.database
    }

    /// Takes SHARED on the database and, in WAL mode, joins the wal-index, which is valid then.
    pub(crate) fn take(
        env: &Env,
        db: &DbName,
        dir: &DatabaseDir,
        wal: bool,
    ) -> Result<Locked, Error> {
        let database = open_database_shared(env, db, dir)?;
        if !wal {
            return Ok(Locked {
                database,
                shm: None,
            });
        }
        let mut shm = SharedIndex::join(env, db, dir)?;
        make_valid(&mut shm)?;
        Ok(Locked {
            database,
            shm: Some(shm),
        })
    }
}

/// Builds the wal-index if nobody has.
fn make_valid(shm: &mut SharedIndex) -> Result<(), Error> {
    if shm.index.header().is_ok() {
        return Ok(());
    }
    // Never built, or being written at this moment: it is whole once its writer is done.
    shm.lock(lock::WAL_WRITE, LockKind::Exclusive, "WAL_WRITE_LOCK")?;
    let header = shm.header_or_recover();
    shm.unlock_write()?;
    header.map(|_| ())
}

impl View {
    /// The view that the locks keep as it is now. Also returns the header of the wal-index that it is a view of, in
    /// WAL mode.
    pub(crate) fn new(
        mut locked: Locked,
        db: &DbName,
        dir: &DatabaseDir,
        shown_counter: Option<ShownCounter>,
    ) -> Result<(View, Option<WalIndexHeader>), Error> {
        let path = dir.file(FileKind::Database);
        let database = File::open(&path).during("open", &path)?;
        let (mut index, mut log) = (None, None);
        if let Some(shm) = &mut locked.shm {
            let mark = shm.begin_read()?;
            if mark.slot > 0 {
                let backfill = shm.index.checkpoint_info().backfill;
                log = Log::over(shm, dir, &mark.header, backfill)?;
            }
            index = Some(mark.header);
        }
        let in_log = index.and_then(|header| {
            Some((header.page_size?, header.page_count)).filter(|_| header.mx_frame > 0)
        });
        let (page_size, page_count) = match in_log {
            Some(size) => size,
            None => size_from_header(&database, &path, db)?,
        };
        let mut view = View {
            page_size,
            page_count,
            database,
            database_path: path,
            shown_counter,
            log,
            _locked: locked,
        };
        if in_log.is_some() {
            let mut first = Vec::new();
            view.read(Pgno::FIRST, &mut first)?;
            view.page_count = logical_page_count(&first, page_count);
        }
        Ok((view, index))
    }

    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    pub(crate) fn page_count(&self) -> u32 {
        self.page_count
    }

    /// Reads a page. What the file does not have is zero, as it is for SQLite.
    pub(crate) fn read(&self, pgno: Pgno, page: &mut Vec<u8>) -> Result<(), Error> {
        let frame = self
            .log
            .as_ref()
            .and_then(|log| Some((log, *log.frames.get(&pgno)?)));
        match frame {
            Some((log, frame)) => {
                let offset = frame_offset(self.page_size, frame) + FrameHeader::SIZE as u64;
                read_page(&log.file, offset, self.page_size, page).during("read", &log.path)
            }
            None => {
                let offset = self.page_size.offset(pgno);
                read_page(&self.database, offset, self.page_size, page)
                    .during("read", &self.database_path)?;
                if let (Pgno::FIRST, Some(shown)) = (pgno, &self.shown_counter) {
                    shown.undo(page);
                }
                Ok(())
            }
        }
    }

    /// All pages that have a checksum: 1 to the last, without the lock page.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Pgno> + use<> {
        pages_of(self.page_size, self.page_count)
    }
}

/// The page count after a commit that says `committed`, given page 1. A connection that found no log has taken the length
/// of the file for the size of the database, which may be longer (SQLITE_FCNTL_CHUNK_SIZE): the header is right.
pub(crate) fn logical_page_count(first_page: &[u8], committed: u32) -> u32 {
    DatabaseHeader::parse(first_page)
        .ok()
        .and_then(|header| header.trusted_page_count())
        .map_or(committed, |count| count.min(committed))
}

/// Pages 1 to `page_count` without the lock page.
pub(crate) fn pages_of(page_size: PageSize, page_count: u32) -> impl Iterator<Item = Pgno> + use<> {
    (1..=page_count)
        .filter_map(Pgno::new)
        .filter(move |pgno| *pgno != page_size.lock_page())
}

/// Reads page 1 of a backing database file.
pub(crate) fn read_first_page(dir: &DatabaseDir, page_size: PageSize) -> Result<Vec<u8>, Error> {
    let path = dir.file(FileKind::Database);
    let file = File::open(&path).during("open", &path)?;
    let mut page = Vec::new();
    read_page(&file, 0, page_size, &mut page).during("read", &path)?;
    Ok(page)
}

/// Reads one page at `offset`; what is behind the end of the file is zero.
pub(crate) fn read_page(
    file: &File,
    offset: u64,
    page_size: PageSize,
    page: &mut Vec<u8>,
) -> std::io::Result<()> {
    page.resize(page_size.bytes(), 0);
    let read = read_full(file, page, offset)?;
    page[read..].fill(0);
    Ok(())
}

/// Page size and page count as the database's own header tells them.
pub(crate) fn size_from_header(
    database: &File,
    path: &std::path::Path,
    db: &DbName,
) -> Result<(PageSize, u32), Error> {
    let mut bytes = [0; DatabaseHeader::SIZE];
    read_full(database, &mut bytes, 0).during("read", path)?;
    let header = DatabaseHeader::parse(&bytes).map_err(|source| Error::Sqlite {
        what: format!("database {db}: header"),
        source,
    })?;
    let length = database.metadata().during("stat", path)?.len();
    let in_file =
        u32::try_from(length.div_ceil(u64::from(header.page_size.get()))).unwrap_or(u32::MAX);
    Ok((
        header.page_size,
        header.trusted_page_count().unwrap_or(in_file),
    ))
}

impl Log {
    fn over(
        shm: &SharedIndex,
        dir: &DatabaseDir,
        header: &WalIndexHeader,
        backfill: u32,
    ) -> Result<Option<Log>, Error> {
        if backfill >= header.mx_frame {
            return Ok(None);
        }
        let path = dir.file(FileKind::Wal);
        let Some(file) = open_existing(&path)? else {
            return Err(Error::BadFile {
                path,
                reason: "is missing although its wal-index has frames".into(),
            });
        };
        let mut frames = HashMap::new();
        for frame in backfill + 1..=header.mx_frame {
            if let Some(pgno) = shm.index.page_of_frame(frame) {
                frames.insert(pgno, frame);
            }
        }
        Ok(Some(Log { file, path, frames }))
    }
}

/// The place in the log that a wal-index header speaks of; `None` if the log is empty.
pub(crate) fn chain_at(header: &WalIndexHeader) -> Option<FrameChain> {
    let page_size = header.page_size.filter(|_| header.mx_frame > 0)?;
    Some(FrameChain::resume(
        page_size,
        header.salts,
        header.big_endian_checksum,
        header.frame_checksum,
        header.mx_frame,
    ))
}
