//! Startup: what is in a database's directory becomes one database file, its table and its position, before anything
//! is mounted and anybody can look.
//!
//! The order matters. A hot journal is played back and committed frames are copied out of the -wal, as the first
//! connection of SQLite's would do, so that afterwards the content is the database file alone. Then the table: the
//! saved one if it is of exactly this file, else computed by reading the file. Then the log: does it end where the
//! content is?

pub(crate) mod journal;
pub(crate) mod live;
mod replay;
mod settle;
pub(crate) mod wal;

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ltx::{PageSize, Pos};

use crate::core::Core;
use crate::database::Database;
use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::history::History;
use crate::incarnation::{self, Incarnation};
use crate::layout::{DatabaseDir, remove_if_exists};
use crate::log::LtxLog;
use crate::name::{DbName, FileKind};
use crate::shared::{Shared, State};
use crate::shared_index::read_full;
use crate::shown_counter::ShownCounter;
use crate::status::Mode;
use crate::table::{self, ChecksumTable, FileStamp, SavedTable};
use crate::view::{pages_of, read_first_page, read_page, size_from_header};

use journal::Played;

/// The content of a database file.
struct Content {
    mode: Mode,
    page_size: Option<PageSize>,
    table: ChecksumTable,
    /// The position that a clean stop saved, if the content is still that.
    saved: Option<Pos>,
    played: Played,
    /// The file is shorter than its header says.
    short: bool,
}

/// What a start found besides the content, until the content is settled.
pub(crate) struct Found {
    /// A table that was saved once, and the position that it is of.
    base: Option<(ChecksumTable, Pos)>,
    played: Played,
}

impl Content {
    fn without_pages(mode: Mode) -> Content {
        Content {
            mode,
            page_size: None,
            table: ChecksumTable::default(),
            saved: None,
            played: Played::Nothing,
            short: false,
        }
    }
}

/// Opens the database in `dir`; creates the directory if `incarnation` is given and it is not there.
pub(crate) fn open(
    env: &Arc<Env>,
    name: &DbName,
    incarnation: Option<Incarnation>,
) -> Result<Arc<Database>, Error> {
    let dir = env.data.database(name);
    fs::create_dir_all(dir.ltx()).during("create", &dir.ltx())?;
    let incarnation = settle_incarnation(&dir, incarnation)?;
    let stored = keep_base(&dir)?;
    let mut content = recover_content(env, &dir, name, stored.as_ref())?;
    let shown_counter = settle_shown_counter(env, &dir, &mut content)?;
    let (log, complaints) = LtxLog::open(&dir.ltx())?;
    for complaint in complaints {
        tracing::warn!(database = %name, "{complaint}");
    }
    let sum = content.table.sum();
    let of_table = stored.as_ref().map(|saved| saved.pos);
    let claims = || [log.end(), content.saved, of_table].into_iter().flatten();
    if content.saved.is_none() && content.table.page_count() > 0 {
        env.unclean.store(true, Ordering::Release);
    }
    // Without a clean stop the sums prove nothing yet, see `replay::compare`.
    let known = claims()
        .filter(|pos| pos.checksum == sum && content.saved.is_some())
        .max_by_key(|pos| pos.txid);
    let latest = claims().max_by_key(|pos| pos.txid);
    // A file that is no database, and never was one.
    let untouched = content.table.page_count() == 0 && latest.is_none();
    let settled = known.is_some() || untouched;
    let pos = known.or(latest).unwrap_or(Pos::EMPTY);
    let place = Place {
        incarnation,
        pos,
        mode: content.mode,
        page_size: content.page_size,
        page_count: content.table.page_count(),
    };
    let shared = place.share(env, name, dir, log)?;
    Ok(Database::new(shared.clone(), move |me| {
        let Content {
            table,
            page_size,
            played,
            short,
            ..
        } = content;
        let mut core = Core::new(shared, me, table, page_size, settled);
        core.short = short;
        core.shown_counter = shown_counter;
        if !settled {
            let base = stored.map(|saved| (saved.table, saved.pos));
            core.found = Some(Found { base, played });
        }
        core
    }))
}

/// What is known of a database when it is opened.
struct Place {
    incarnation: Incarnation,
    pos: Pos,
    mode: Mode,
    page_size: Option<PageSize>,
    page_count: u32,
}

impl Place {
    fn share(
        self,
        env: &Arc<Env>,
        name: &DbName,
        dir: DatabaseDir,
        log: LtxLog,
    ) -> Result<Arc<Shared>, Error> {
        let state = State {
            incarnation: self.incarnation,
            pos: self.pos,
            mode: self.mode,
            page_size: self.page_size,
            page_count: self.page_count,
            last_change_ms: log.last().map(|file| file.timestamp_ms),
            lag_ms: 0,
            latched: None,
            damaged: Default::default(),
        };
        let history = History::load(&dir.history())?;
        let shared = Shared::new(name.clone(), dir, env.clone(), log, history, state);
        Ok(Arc::new(shared))
    }
}

/// Page 1 may show another change counter than the primary has. A replica goes on with that. For a primary it is what is
/// in the database, and becomes a transaction.
fn settle_shown_counter(
    env: &Env,
    dir: &DatabaseDir,
    content: &mut Content,
) -> Result<Option<ShownCounter>, Error> {
    let (Some(shown), Some(page_size)) = (ShownCounter::load(dir)?, content.page_size) else {
        return Ok(None);
    };
    let mut page = read_first_page(dir, page_size)?;
    let keep = !env.is_primary();
    if keep {
        shown.undo(&mut page);
    } else {
        remove_if_exists(&dir.shown_counter())?;
    }
    let first = ltx::Pgno::FIRST;
    content.table.set(first, ltx::page_checksum(first, &page));
    Ok(keep.then_some(shown))
}

/// The table that a stop saved is good for the file until the next write, and for its position for longer: whatever
/// happens from here on, it is only the latter.
fn keep_base(dir: &DatabaseDir) -> Result<Option<SavedTable>, Error> {
    let (path, base) = (dir.table(), dir.table_base());
    let saved = table::load(&path);
    if saved.is_some() {
        fs::rename(&path, &base).during("rename", &path)?;
        return Ok(saved);
    }
    remove_if_exists(&path)?;
    // It vouches for no file: a stamp that no file has.
    Ok(table::load(&base).map(|saved| SavedTable {
        stamp: FileStamp::NONE,
        ..saved
    }))
}

fn settle_incarnation(
    dir: &DatabaseDir,
    wanted: Option<Incarnation>,
) -> Result<Incarnation, Error> {
    let path = dir.incarnation();
    if let Some(number) = incarnation::read_hex(&path)? {
        return Ok(Incarnation::new(number));
    }
    // A new database, or one of LiteFS's.
    let incarnation = wanted.unwrap_or_else(Incarnation::random);
    incarnation::write_hex(&path, incarnation.get())?;
    Ok(incarnation)
}

/// Brings the directory to the state of one database file and reads it, as far as that is needed.
fn recover_content(
    env: &Env,
    dir: &DatabaseDir,
    name: &DbName,
    stored: Option<&SavedTable>,
) -> Result<Content, Error> {
    remove_if_exists(&dir.file(FileKind::Shm))?;
    remove_if_exists(&dir.file(FileKind::Database).with_extension("tmp"))?;
    let path = dir.file(FileKind::Database);
    if !path.exists() {
        // Companions without a database must not become those of the next one.
        for kind in [FileKind::Wal, FileKind::Journal] {
            crate::aside::put_file_aside(env, name, &dir.file(kind))?;
        }
        return Ok(Content::without_pages(Mode::Empty));
    }
    let stamp = FileStamp::of(&path)?;
    let played = journal::play_back(dir, name)?;
    let copied = wal::copy_into_database(dir, name)?;
    let file = File::open(&path).during("open", &path)?;
    let mode = mode_of_file(&file, &path)?;
    if mode == Mode::NotSqlite {
        tracing::warn!(database = %name, "not a SQLite database: left alone and not replicated");
    }
    if !matches!(mode, Mode::Wal | Mode::Rollback) {
        return Ok(Content::without_pages(mode));
    }
    let (page_size, page_count) = size_from_header(&file, &path, name)?;
    let length = file.metadata().during("stat", &path)?.len();
    let short = u64::from(page_count) > length.div_ceil(u64::from(page_size.get()));
    if short {
        tracing::error!(database = %name, page_count, length, "its header says more pages than the file has");
    }
    match stored {
        Some(saved) if saved.stamp == stamp && played == Played::Nothing && !short => {
            let mut table = saved.table.clone();
            table.resize(page_count);
            for (pgno, checksum) in copied {
                table.set(pgno, checksum);
            }
            Ok(Content {
                mode,
                page_size: Some(page_size),
                table,
                saved: Some(saved.pos),
                played,
                short,
            })
        }
        _ => {
            let table = compute(&file, dir, name, page_size, page_count)?;
            Ok(Content {
                mode,
                page_size: Some(page_size),
                table,
                saved: None,
                played,
                short,
            })
        }
    }
}

fn compute(
    file: &File,
    dir: &DatabaseDir,
    name: &DbName,
    page_size: PageSize,
    page_count: u32,
) -> Result<ChecksumTable, Error> {
    tracing::info!(database = %name, pages = page_count, "reading the database: it was not stopped cleanly");
    let path = dir.file(FileKind::Database);
    let mut table = ChecksumTable::default();
    table.resize(page_count);
    let mut page = Vec::new();
    for pgno in pages_of(page_size, page_count) {
        read_page(file, page_size.offset(pgno), page_size, &mut page).during("read", &path)?;
        table.set(pgno, ltx::page_checksum(pgno, &page));
    }
    Ok(table)
}

fn mode_of_file(file: &File, path: &std::path::Path) -> Result<Mode, Error> {
    let mut bytes = [0; sqlite::header::DatabaseHeader::SIZE];
    let read = read_full(file, &mut bytes, 0).during("read", path)?;
    if read == 0 {
        Ok(Mode::Empty)
    } else {
        Ok(crate::apply::mode_of(&bytes[..read]))
    }
}
