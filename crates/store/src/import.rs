//! Import: a whole database becomes one transaction on the primary, visible to open connections like any other.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use ltx::{Checksum, PageSize, Pgno, Pos, TxId};
use sqlite::header::{self, DatabaseHeader};

use crate::apply::rollback::lock_exclusive;
use crate::apply::wal_writer::WalWriter;
use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, IoContext};
use crate::incarnation;
use crate::incoming::Incoming;
use crate::layout::remove_if_exists;
use crate::name::{DbName, FileKind};
use crate::shared_index::read_full;
use crate::spool::Spool;
use crate::status::Mode;
use crate::transaction::unix_ms;

/// A database that is being received. Dropped without [`Import::commit`] nothing has happened.
pub struct Import {
    spool: Spool,
    db: DbName,
    target: Target,
}

/// Where it goes.
enum Target {
    Existing(Arc<Database>),
    New(Arc<crate::store::Store>),
}

impl Import {
    pub(crate) fn into_existing(db: Arc<Database>) -> Import {
        let (spool, name) = (Spool::new(&db.shared.dir.ltx()), db.name().clone());
        Import {
            spool,
            db: name,
            target: Target::Existing(db),
        }
    }

    pub(crate) fn into_new(
        store: Arc<crate::store::Store>,
        db: DbName,
        dir: &std::path::Path,
    ) -> Import {
        Import {
            spool: Spool::new(dir),
            db,
            target: Target::New(store),
        }
    }

    /// Adds bytes of the database file. Refuses what does not begin as a database does.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let begun = self.spool.len();
        if let Some(magic) = usize::try_from(begun)
            .ok()
            .and_then(|begun| header::MAGIC.get(begun..))
        {
            let compared = magic.len().min(bytes.len());
            if magic[..compared] != bytes[..compared] {
                let reason = "it does not begin with the magic of a SQLite database".into();
                return Err(Error::NotADatabase {
                    db: self.db.clone(),
                    reason,
                });
            }
        }
        self.spool.write_all(bytes).map_err(|source| Error::Io {
            what: format!("database {}: receive an import", self.db),
            source,
        })
    }

    /// Checks that what was received is a database, and makes it the content.
    pub fn commit(mut self) -> Result<Pos, Error> {
        let image = Image::check(&mut self.spool, &self.db)?;
        let database = match self.target {
            Target::Existing(db) => db,
            Target::New(store) => store.create_database(&self.db)?,
        };
        // The locks are taken here and not on the strand: a writer who holds them may be waiting for the strand.
        let _own = database.shared.env.own.enter();
        let hold = Hold::take(&database)?;
        let spool = self.spool;
        database.call(move |core| core.import(spool, image, hold))?
    }
}

/// What keeps applications from writing while the import is made.
enum Hold {
    /// The database has no content that anybody could write to.
    Nothing,
    Wal(Box<WalWriter>),
    Exclusive(File),
}

impl Hold {
    fn take(db: &Database) -> Result<Hold, Error> {
        let shared = &db.shared;
        Ok(match shared.mode() {
            Mode::Wal => Hold::Wal(Box::new(WalWriter::join(
                &shared.env,
                &shared.name,
                &shared.dir,
            )?)),
            Mode::Rollback => {
                let database = lock_exclusive(shared)?;
                db.roll_back_hot(&database)?;
                Hold::Exclusive(database)
            }
            Mode::Empty | Mode::NotSqlite => Hold::Nothing,
        })
    }
}

/// What is known of a received database file.
#[derive(Debug, Clone, Copy)]
struct Image {
    page_size: PageSize,
    page_count: u32,
}

impl Image {
    fn check(spool: &mut Spool, db: &DbName) -> Result<Image, Error> {
        let wrong = |reason: String| Error::NotADatabase {
            db: db.clone(),
            reason,
        };
        let length = spool.len();
        let mut bytes = [0; DatabaseHeader::SIZE];
        let short = |_| {
            wrong(format!(
                "it is {length} bytes long, less than the header of a database"
            ))
        };
        spool.reader()?.read_exact(&mut bytes).map_err(short)?;
        let header = DatabaseHeader::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
        let page_size = u64::from(header.page_size.get());
        if !length.is_multiple_of(page_size) {
            return Err(wrong(format!(
                "{length} bytes are not a multiple of its page size, {page_size}"
            )));
        }
        let in_file =
            u32::try_from(length / page_size).map_err(|_| wrong("more than 2^32 pages".into()))?;
        let page_count = header.trusted_page_count().unwrap_or(in_file);
        if page_count > in_file {
            return Err(wrong(format!(
                "its header says {page_count} pages, {in_file} were received"
            )));
        }
        Ok(Image {
            page_size: header.page_size,
            page_count,
        })
    }
}

/// What of page 1 is not taken from the imported file when the database exists already.
#[derive(Clone, Copy)]
struct Page1 {
    /// The connections there are work in this mode.
    versions: [u8; 2],
    /// Connections compare these to know that their cache and their schema are old.
    change_counter: u32,
    schema_cookie: u32,
}

impl Core {
    fn import(&mut self, mut spool: Spool, image: Image, hold: Hold) -> Result<Pos, Error> {
        if !self.env().is_primary() {
            return Err(Error::NotPrimary);
        }
        match (hold, self.mode()) {
            (Hold::Wal(writer), Mode::Wal) => {
                self.capture(Occasion::Wake)?;
                self.set_writer(Some(*writer));
            }
            (Hold::Exclusive(file), Mode::Rollback) => {
                self.capture_locked()?;
                self.exclusive = Some(file);
            }
            (Hold::Nothing, Mode::Empty | Mode::NotSqlite) => {}
            _ => {
                return Err(Error::Busy {
                    db: self.name().clone(),
                    lock: "the journal mode",
                    waited_ms: 0,
                });
            }
        }
        let result = self.import_locked(&mut spool, image);
        if self.unfinished.is_none() {
            self.set_writer(None);
            self.drop_exclusive();
        }
        if let Some(db) = self.database() {
            db.wake();
        }
        result
    }

    fn import_locked(&mut self, spool: &mut Spool, image: Image) -> Result<Pos, Error> {
        let page_1 = self.page_1_for_import()?;
        let mut incoming = Incoming {
            spool: self.encode_import(spool, image, page_1)?,
            replaces_history: false,
            common: None,
            history: None,
        };
        let verified = self.verify(&mut incoming)?;
        let marker = self.dir().unfinished();
        incarnation::write_hex(&marker, verified.header.max_txid.get())?;
        let was_wal = self.writer.is_some();
        let result = self.store_and_apply(incoming, verified);
        if result.is_err() && was_wal && self.unfinished.take().is_some() {
            // Frames without a commit: nobody sees them. The transaction has not happened.
            self.shared.log.write().pop_last()?;
        }
        if self.unfinished.is_none() {
            self.skip_own_write()?;
            remove_if_exists(&marker)?;
        }
        result
    }

    /// Encodes the imported file as the next transaction: all of its pages.
    fn encode_import(
        &self,
        spool: &mut Spool,
        image: Image,
        page_1: Option<Page1>,
    ) -> Result<Spool, Error> {
        let pos = self.pos();
        let fault = |source| Error::Ltx {
            what: format!("database {}: encode an import", self.name()),
            source,
        };
        let resized = self.page_size.is_some_and(|known| known != image.page_size);
        let snapshot = resized || pos.txid.is_zero();
        let header = ltx::Header {
            page_size: image.page_size,
            commit: image.page_count,
            min_txid: if snapshot {
                TxId::new(1)
            } else {
                pos.txid.next()
            },
            max_txid: pos.txid.next(),
            timestamp_ms: unix_ms(),
            pre_apply_checksum: if snapshot {
                Checksum::NONE
            } else {
                pos.checksum
            },
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: self.env().node_id,
        };
        let mut writer = ltx::Writer::new(Spool::new(&self.dir().ltx()), header).map_err(fault)?;
        writer = writer.with_compression(self.env().compression());
        let mut reader = spool.reader()?;
        let mut page = vec![0; image.page_size.bytes()];
        let mut sum = Checksum::EMPTY;
        for pgno in (1..=image.page_count).filter_map(Pgno::new) {
            reader.read_exact(&mut page).map_err(|source| Error::Io {
                what: format!("database {}: read back an import", self.name()),
                source,
            })?;
            if pgno == image.page_size.lock_page() {
                continue;
            }
            if let (Pgno::FIRST, Some(page_1)) = (pgno, page_1) {
                page_1.patch(&mut page);
            }
            sum = sum.toggled(ltx::page_checksum(pgno, &page));
            writer.write_page(pgno, &page).map_err(fault)?;
        }
        let (spool, _) = writer.finish(sum).map_err(fault)?;
        Ok(spool)
    }

    /// `None` for a database without a content yet: the imported file is taken as it is.
    fn page_1_for_import(&self) -> Result<Option<Page1>, Error> {
        if self.table.page_count() == 0 {
            return Ok(None);
        }
        let mut page = vec![0; DatabaseHeader::SIZE];
        let in_log = match &self.writer {
            Some(writer) => writer.read_from_log(Pgno::FIRST, &mut page)?,
            None => false,
        };
        if !in_log {
            let path = self.dir().file(FileKind::Database);
            let file = File::open(&path).during("open", &path)?;
            read_full(&file, &mut page, 0).during("read", &path)?;
        }
        let old = DatabaseHeader::parse(&page).map_err(|source| Error::Sqlite {
            what: format!("database {}: header", self.name()),
            source,
        })?;
        Ok(Some(Page1 {
            versions: [old.write_version, old.read_version],
            change_counter: old.change_counter.wrapping_add(1),
            schema_cookie: old.schema_cookie.wrapping_add(1),
        }))
    }

    /// What the store wrote itself is not to be captured again.
    pub(crate) fn skip_own_write(&mut self) -> Result<(), Error> {
        self.shared.dirty.lock().clear();
        self.wal.file = None;
        self.wal.watch = None;
        self.forget_generation();
        if let Some(writer) = &self.writer
            && let Some(chain) = writer.end_of_log()
        {
            self.set_chain(chain);
        }
        Ok(())
    }
}

impl Page1 {
    fn patch(&self, page: &mut [u8]) {
        let mut put = |offset: usize, bytes: &[u8]| {
            if let Some(place) = page.get_mut(offset..offset + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(header::OFFSET_WRITE_VERSION, &self.versions);
        put(
            header::OFFSET_CHANGE_COUNTER,
            &self.change_counter.to_be_bytes(),
        );
        put(
            header::OFFSET_VERSION_VALID_FOR,
            &self.change_counter.to_be_bytes(),
        );
        put(
            header::OFFSET_SCHEMA_COOKIE,
            &self.schema_cookie.to_be_bytes(),
        );
    }
}
