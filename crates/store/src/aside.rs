//! `aside/`: where files go that are no longer part of a database, instead of being deleted.
//!
//! What is public here only reads: [`list`] and [`Entry`] say what was put aside, [`contents`] what is in it, [`export`]
//! makes a database of it again. They work on the directory alone, beside a running node as well: nothing in `aside/` is
//! ever changed, it only goes as a whole.

mod contents;
mod entry;
mod export;
mod rebuild;
mod way_back;

pub use contents::{LtxContents, LtxDetails, contents};
pub use entry::{Entry, EntryFile, list};
pub use export::{Base, Exported, export};

use std::fs;
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::layout::DatabaseDir;
use crate::log::LtxFile;
use crate::name::DbName;
use crate::transaction::{Transaction, unix_ms};

/// What the directories are called that hold transactions which no other node has.
pub(crate) const UNREPLICATED: &str = "unreplicated";

/// Moves one file, if it is there.
pub(crate) fn put_file_aside(env: &Env, db: &DbName, path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let target = new_directory(env, db, "orphaned")?.join(path.file_name().unwrap_or_default());
    tracing::warn!(database = %db, from = %path.display(), to = %target.display(), "put aside");
    fs::rename(path, &target).during("move aside", path)
}

/// Copies one file, before it is written over.
pub(crate) fn copy_file_aside(env: &Env, db: &DbName, path: &Path, why: &str) -> Result<(), Error> {
    let target = new_directory(env, db, why)?.join(path.file_name().unwrap_or_default());
    tracing::warn!(database = %db, from = %path.display(), to = %target.display(), "a copy was put aside");
    fs::copy(path, &target)
        .map(|_| ())
        .during("copy aside", path)
}

/// Keeps a transaction that only this node has and that will not be part of the database any more.
pub(crate) fn put_transaction_aside(
    env: &Env,
    db: &DbName,
    transaction: Transaction,
) -> Result<(), Error> {
    let path = new_directory(env, db, UNREPLICATED)?.join(transaction.file_name());
    tracing::error!(database = %db, txid = %transaction.max_txid(), to = %path.display(),
        "commits that were never replicated were put aside");
    transaction.place(&path)
}

/// The same for transactions that are in the log. Their files stay where they are.
pub(crate) fn put_files_aside(
    env: &Env,
    db: &DbName,
    files: &[LtxFile],
) -> Result<Option<PathBuf>, Error> {
    let (Some(first), Some(last)) = (files.first(), files.last()) else {
        return Ok(None);
    };
    let target = new_directory(env, db, UNREPLICATED)?;
    for file in files {
        let to = target.join(file.path().file_name().unwrap_or_default());
        // Some file systems have no hard links.
        fs::hard_link(file.path(), &to)
            .or_else(|_| fs::copy(file.path(), &to).map(|_| ()))
            .during("copy aside", file.path())?;
    }
    crate::layout::sync_directory(&target)?;
    tracing::error!(database = %db, from = %first.min_txid, until = %last.post_pos(), to = %target.display(),
        "another history takes over: the transactions of this node that may not be part of it were put aside");
    Ok(Some(target))
}

/// Moves the whole directory of a database.
pub(crate) fn put_all_aside(
    env: &Env,
    db: &DbName,
    dir: &DatabaseDir,
    why: &str,
) -> Result<PathBuf, Error> {
    let target = new_directory(env, db, why)?.join("dir");
    fs::rename(dir.path(), &target).during("move aside", dir.path())?;
    Ok(target)
}

fn new_directory(env: &Env, db: &DbName, why: &str) -> Result<PathBuf, Error> {
    let aside = env.data.aside();
    for attempt in 0..1000 {
        let path = aside.join(format!("{db}-{why}-{}-{attempt}", unix_ms()));
        fs::create_dir_all(&aside).during("create", &aside)?;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => return created.during("create", &path).map(|()| path),
        }
    }
    Err(Error::BadFile {
        path: aside,
        reason: "no free name for a directory".into(),
    })
}

/// Directories with transactions that no other node may have.
pub(crate) fn unreplicated_count(env: &Env) -> Result<u64, Error> {
    let aside = env.data.aside();
    let entries = match fs::read_dir(&aside) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).during("list", &aside),
    };
    let mut count = 0;
    for entry in entries {
        count += u64::from(is_unreplicated(&entry.during("list", &aside)?.file_name()));
    }
    Ok(count)
}

fn is_unreplicated(directory: &std::ffi::OsStr) -> bool {
    let mark = format!("-{UNREPLICATED}-");
    directory.to_string_lossy().contains(&mark)
}

/// Removes what was put aside longer ago than `keep`.
pub(crate) fn reap(env: &Env, keep: std::time::Duration) -> Result<(), Error> {
    let aside = env.data.aside();
    let entries = match fs::read_dir(&aside) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).during("list", &aside),
    };
    for entry in entries {
        let entry = entry.during("list", &aside)?;
        if is_unreplicated(&entry.file_name()) {
            // For an operator to decide: it is nowhere else.
            continue;
        }
        let modified = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .during("stat", &entry.path())?;
        if modified.elapsed().is_ok_and(|age| age > keep) {
            fs::remove_dir_all(entry.path()).during("remove", &entry.path())?;
        }
    }
    Ok(())
}
