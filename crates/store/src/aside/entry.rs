//! What was put aside: one directory per event, named `<database>-<why>-<Unix ms>-<n>`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ltx::TxId;

use super::UNREPLICATED;
use crate::error::{Error, IoContext};
use crate::layout::DataDir;
use crate::name::DbName;

/// How deep an entry is: `dir/ltx/<file>` at most.
const DEPTH: usize = 4;

/// One directory in `aside/`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// 8 hexadecimal digits, made of the directory's name: the same each time.
    pub id: String,
    /// The directory.
    pub path: PathBuf,
    /// The database that it was part of; `None` if the directory's name does not say so.
    pub database: Option<DbName>,
    /// Why: `deleted`, `dropped`, `replaced`, `orphaned`, `broken`, `unreplicated`, or whatever the directory's name says.
    pub reason: String,
    /// When, in Unix milliseconds.
    pub time_ms: Option<i64>,
    /// All files in it, ordered by path.
    pub files: Vec<EntryFile>,
}

/// One file of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFile {
    /// Where it is in the entry.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

impl EntryFile {
    /// The TXIDs in the name of an LTX file; `None` for another file.
    pub fn txids(&self) -> Option<(TxId, TxId)> {
        ltx::parse_file_name(self.path.file_name()?.to_str()?)
    }
}

impl Entry {
    /// The directory's name.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Whether it may be nowhere else: such an entry stays until an operator removes it.
    pub fn is_unreplicated(&self) -> bool {
        self.reason == UNREPLICATED
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// First and last TXID of the LTX files in it; `None` if it has none.
    pub fn txids(&self) -> Option<(TxId, TxId)> {
        let ranges = || self.files.iter().filter_map(EntryFile::txids);
        let min = ranges().map(|(min, _)| min).min()?;
        Some((min, ranges().map(|(_, max)| max).max()?))
    }

    /// Whether `text` names this entry: the beginning of its id, or its directory.
    pub fn is_called(&self, text: &str) -> bool {
        !text.is_empty() && (self.id.starts_with(text) || self.name() == text)
    }

    fn read(path: PathBuf) -> Result<Entry, Error> {
        let mut files = Vec::new();
        collect(&path, Path::new(""), DEPTH, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (database, reason, time_ms) = parse_name(&name);
        Ok(Entry {
            id: format!("{:08x}", crc32fast::hash(name.as_bytes())),
            database,
            reason,
            time_ms,
            files,
            path,
        })
    }
}

/// Everything that was put aside in a data directory, the oldest first. What vanishes meanwhile is left out.
///
/// # Errors
/// If a directory cannot be listed.
pub fn list(data: &DataDir) -> Result<Vec<Entry>, Error> {
    let aside = data.aside();
    let mut entries = Vec::new();
    for name in subdirectories(&aside)? {
        entries.push(Entry::read(aside.join(name))?);
    }
    entries.retain(|entry| entry.path.exists());
    entries.sort_by(|a, b| (a.time_ms, &a.path).cmp(&(b.time_ms, &b.path)));
    Ok(entries)
}

fn subdirectories(directory: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let mut names = Vec::new();
    for_each_entry(directory, |entry, is_directory| {
        if is_directory {
            names.push(entry.file_name());
        }
        Ok(())
    })?;
    Ok(names)
}

fn collect(
    root: &Path,
    below: &Path,
    depth: usize,
    files: &mut Vec<EntryFile>,
) -> Result<(), Error> {
    for_each_entry(&root.join(below), |entry, is_directory| {
        let path = below.join(entry.file_name());
        if is_directory {
            return match depth.checked_sub(1) {
                Some(depth) => collect(root, &path, depth, files),
                None => Ok(()),
            };
        }
        match entry.metadata() {
            Ok(meta) => files.push(EntryFile {
                path,
                size: meta.len(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).during("stat", &entry.path()),
        }
        Ok(())
    })
}

/// Calls `visit` for what is in a directory; none if it is not there. Symbolic links are not followed.
fn for_each_entry(
    directory: &Path,
    mut visit: impl FnMut(&fs::DirEntry, bool) -> Result<(), Error>,
) -> Result<(), Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.during("list", directory)?,
    };
    for entry in entries {
        let entry = match entry {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entry => entry.during("list", directory)?,
        };
        let kind = match entry.file_type() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            kind => kind.during("stat", &entry.path())?,
        };
        visit(&entry, kind.is_dir())?;
    }
    Ok(())
}

/// Database, reason and time. The name of a database may have hyphens: read from the right.
fn parse_name(name: &str) -> (Option<DbName>, String, Option<i64>) {
    let mut parts = name.rsplitn(4, '-');
    let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok());
    let (attempt, time_ms) = (number(), number());
    match (attempt, time_ms, parts.next(), parts.next()) {
        (Some(_), Some(time_ms), Some(why), Some(db)) => {
            (DbName::new(db).ok(), why.to_owned(), Some(time_ms))
        }
        _ => (None, "unknown".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_the_right() {
        let (db, why, ms) = parse_name("my-app-db-unreplicated-1700000000123-0");
        assert_eq!(db.unwrap().as_str(), "my-app-db");
        assert_eq!(
            (why.as_str(), ms),
            ("unreplicated", Some(1_700_000_000_123))
        );
        for name in [
            "",
            "app",
            "app-deleted",
            "app-deleted-x-0",
            "app-deleted-1-y",
        ] {
            assert_eq!(parse_name(name), (None, "unknown".to_owned(), None));
        }
        // Not a database's name: there is a reason all the same.
        assert_eq!(
            parse_name("x-wal-deleted-5-0"),
            (None, "deleted".to_owned(), Some(5))
        );
    }

    #[test]
    fn entries_are_listed_oldest_first_with_all_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        assert!(list(&data).unwrap().is_empty());
        let file = |path: &str, size: usize| {
            let path = data.aside().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        };
        file("b-deleted-2000-0/dir/database", 5);
        file(
            "b-deleted-2000-0/dir/ltx/0000000000000001-0000000000000003.ltx",
            7,
        );
        file(
            "a-unreplicated-1000-0/0000000000000004-0000000000000004.ltx",
            1,
        );
        file(
            "a-unreplicated-1000-0/0000000000000005-0000000000000009.ltx",
            1,
        );
        file("odd/x", 1);
        file("not-a-directory", 1);
        let entries = list(&data).unwrap();
        let reasons: Vec<_> = entries.iter().map(|entry| entry.reason.as_str()).collect();
        assert_eq!(reasons, ["unknown", "unreplicated", "deleted"]);
        let [_, lost, deleted] = &entries[..] else {
            panic!()
        };
        assert_eq!((lost.size(), deleted.size()), (2, 12));
        assert_eq!(lost.txids(), Some((TxId::new(4), TxId::new(9))));
        assert_eq!(deleted.txids(), Some((TxId::new(1), TxId::new(3))));
        assert!(lost.is_unreplicated() && !deleted.is_unreplicated());
        assert!(lost.is_called(&lost.id[..3]) && lost.is_called("a-unreplicated-1000-0"));
        assert!(!lost.is_called("") && !lost.is_called(&deleted.id));
        assert_eq!(list(&data).unwrap()[1].id, lost.id);
    }
}
