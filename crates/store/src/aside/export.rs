//! Something usable of what was put aside: a SQLite database file where one can be had, else the files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ltx::{Pgno, Pos};

use super::rebuild::Overlay;
use super::{Entry, list};
use crate::error::{Error, IoContext};
use crate::layout::{DataDir, DatabaseDir, sync_directory};
use crate::name::{DbName, FileKind};
use crate::recovery::{journal, wal};
use crate::shown_counter::ShownCounter;
use crate::view::{read_first_page, size_from_header};

/// How often a copy of a database that a node is using is tried: it may be written meanwhile.
const TRIES: u32 = 3;

/// What [`export`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exported {
    /// One SQLite database file.
    Database {
        /// What it was made from.
        base: Base,
        /// The position that it is at, where that is known.
        pos: Option<Pos>,
    },
    /// A directory with the files of the entry.
    Files {
        /// Why it is no database.
        reason: String,
        /// How many files.
        count: usize,
    },
}

/// What a database was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// From the copy of the database in the entry.
    Copy,
    /// From such a copy that was damaged when it was put aside.
    Damaged,
    /// From the LTX files in the entry, which begin with a snapshot.
    Own,
    /// From LTX files in the entry, in the log of the database and in other entries, which begin with a snapshot.
    Log,
    /// From LTX files on top of a copy of the database as it is now, or as it is in another entry. The checksum of the
    /// result is that of the last transaction.
    Present,
}

/// Writes what can be made of `entry` to `target`, which must not exist: a SQLite database file, or a directory with the
/// files if that is not to be had. Nothing in the data directory is changed. A `target` is there in full or not at all.
///
/// # Errors
/// If `target` exists or cannot be written, or if the entry cannot be read.
pub fn export(data: &DataDir, entry: &Entry, target: &Path) -> Result<Exported, Error> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(Error::BadFile {
            path: target.to_owned(),
            reason: "is there already".into(),
        });
    }
    let scratch = Scratch::beside(target)?;
    let workshop = Workshop::new(data, &scratch.path)?;
    match workshop.database_of(entry)? {
        Ok((base, pos)) => {
            let file = workshop.database();
            File::open(&file)
                .and_then(|file| file.sync_all())
                .during("sync", &file)?;
            publish(&file, target)?;
            Ok(Exported::Database { base, pos })
        }
        Err(reason) => {
            let files = scratch.path.join("files");
            let count = copy_files(entry, &files)?;
            publish(&files, target)?;
            Ok(Exported::Files { reason, count })
        }
    }
}

/// A database, or the reason why there is none.
type Made = Result<(Base, Option<Pos>), String>;

/// A directory like that of a database, in which copies are brought into shape.
struct Workshop<'a> {
    data: &'a DataDir,
    db: DbName,
    dir: DatabaseDir,
}

impl Workshop<'_> {
    fn new<'a>(data: &'a DataDir, scratch: &Path) -> Result<Workshop<'a>, Error> {
        let db = DbName::new("copy")?;
        let dir = DataDir::new(scratch).database(&db);
        fs::create_dir_all(dir.path()).during("create", dir.path())?;
        // Whether a journal is committed may be for a super-journal to say.
        let supers = scratch.join("super");
        let real = fs::canonicalize(data.path()).during("find", data.path())?;
        std::os::unix::fs::symlink(real.join("super"), &supers).during("create", &supers)?;
        Ok(Workshop { data, db, dir })
    }

    /// The file that is to be exported.
    fn database(&self) -> PathBuf {
        self.dir.file(FileKind::Database)
    }

    fn database_of(&self, entry: &Entry) -> Result<Made, Error> {
        let has = |path: &str| entry.files.iter().any(|file| file.path == Path::new(path));
        let copies = [
            ("dir/database", "dir", Base::Copy),
            ("database", "", Base::Damaged),
        ];
        let mut reason = "there is no copy of the database in it".to_owned();
        for (_, directory, base) in copies.into_iter().filter(|(file, ..)| has(file)) {
            match self
                .copy(&entry.path.join(directory))
                .and_then(|()| self.check())
            {
                Ok(()) => return Ok(Ok((base, None))),
                Err(error) => reason = error.chain(),
            }
        }
        if entry.txids().is_none() {
            return Ok(Err(reason));
        }
        self.rebuild(entry)
    }

    fn rebuild(&self, entry: &Entry) -> Result<Made, Error> {
        if let Some(back) = Overlay::way_back(entry) {
            self.clear()?;
            if back.apply(&self.database())? {
                let pos = Overlay::gather(self.data, entry)?.map(|overlay| overlay.end());
                return Ok(Ok((Base::Own, pos)));
            }
        }
        let Some(overlay) = Overlay::gather(self.data, entry)? else {
            return Ok(Err("none of its LTX files can be read".into()));
        };
        let pos = Some(overlay.end());
        if overlay.begins_with_snapshot() {
            self.clear()?;
            if overlay.apply(&self.database())? {
                let base = if overlay.is_own() {
                    Base::Own
                } else {
                    Base::Log
                };
                return Ok(Ok((base, pos)));
            }
            return Ok(Err("its LTX files do not fit together".into()));
        }
        for copy in self.copies(entry)? {
            for _ in 0..TRIES {
                // One that cannot be brought to one file is none.
                if self.copy(&copy).is_ok() && overlay.apply(&self.database())? {
                    return Ok(Ok((Base::Present, pos)));
                }
            }
        }
        let reason = "the database as it was before these transactions is not to be had any more";
        Ok(Err(reason.into()))
    }

    /// Directories with a copy of the database.
    fn copies(&self, entry: &Entry) -> Result<Vec<PathBuf>, Error> {
        let Some(db) = &entry.database else {
            return Ok(Vec::new());
        };
        let mut copies = vec![self.data.database(db).path().to_owned()];
        for other in list(self.data)? {
            if other.database.as_ref() == Some(db) {
                copies.push(other.path.join("dir"));
            }
        }
        copies.retain(|copy| copy.join(FileKind::Database.backing_name()).exists());
        Ok(copies)
    }

    fn clear(&self) -> Result<(), Error> {
        fs::remove_dir_all(self.dir.path()).during("remove", self.dir.path())?;
        fs::create_dir_all(self.dir.path()).during("create", self.dir.path())
    }

    /// Copies a database with its -wal and journal, and brings it to one file.
    fn copy(&self, from: &Path) -> Result<(), Error> {
        self.clear()?;
        let copy = |name: &str| {
            let source = from.join(name);
            match fs::copy(&source, self.dir.path().join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                copied => copied.map(|_| ()).during("copy", &source),
            }
        };
        // Beside a running node the copy may be torn. Who copies a database in use checks the result.
        for kind in [FileKind::Journal, FileKind::Database, FileKind::Wal] {
            copy(kind.backing_name())?;
        }
        let shown = self.dir.shown_counter();
        copy(&shown.file_name().unwrap_or_default().to_string_lossy())?;
        journal::play_back(&self.dir, &self.db)?;
        wal::copy_into_database(&self.dir, &self.db)?;
        self.undo_shown_counter()
    }

    /// Page 1 may show another change counter than the primary has.
    fn undo_shown_counter(&self) -> Result<(), Error> {
        let Some(shown) = ShownCounter::load(&self.dir)? else {
            return Ok(());
        };
        let path = self.database();
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .during("open", &path)?;
        let (page_size, _) = size_from_header(&file, &path, &self.db)?;
        let mut page = read_first_page(&self.dir, page_size)?;
        shown.undo(&mut page);
        file.write_all_at(&page, page_size.offset(Pgno::FIRST))
            .during("write", &path)
    }

    /// Whether it looks like a whole database.
    fn check(&self) -> Result<(), Error> {
        let path = self.database();
        let file = File::open(&path).during("open", &path)?;
        let (page_size, page_count) = size_from_header(&file, &path, &self.db)?;
        let length = file.metadata().during("stat", &path)?.len();
        if length < u64::from(page_count) * u64::from(page_size.get()) {
            return Err(Error::BadFile {
                path,
                reason: "is shorter than its header says".into(),
            });
        }
        Ok(())
    }
}

/// Copies what is in an entry; returns how many files.
fn copy_files(entry: &Entry, to: &Path) -> Result<usize, Error> {
    fs::create_dir_all(to).during("create", to)?;
    for file in &entry.files {
        let (source, target) = (entry.path.join(&file.path), to.join(&file.path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).during("create", parent)?;
        }
        fs::copy(&source, &target).during("copy", &source)?;
        File::open(&target)
            .and_then(|file| file.sync_all())
            .during("sync", &target)?;
    }
    Ok(entry.files.len())
}

fn publish(made: &Path, target: &Path) -> Result<(), Error> {
    fs::rename(made, target).during("rename to", target)?;
    sync_directory(&parent_of(target))
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A directory for what is not complete; it goes when this does.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn beside(target: &Path) -> Result<Scratch, Error> {
        let mut name = OsString::from(target.file_name().unwrap_or_default());
        name.push(format!(".tmp-{}", std::process::id()));
        let path = parent_of(target).join(name);
        fs::create_dir(&path).during("create", &path)?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
