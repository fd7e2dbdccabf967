//! Where things are in the data directory. LiteFS's layout, so that its data directory can be adopted in place.
//!
//! ```text
//! <data>/clusterid             LFSC and 16 hex digits
//! <data>/nodeid                16 hex digits
//! <data>/lock                  held (flock) by the process that uses the directory
//! <data>/boot                  the kernel's id of the start of the machine that it was used in last
//! <data>/replicas              node ids of replicas that were connected, and when
//! <data>/role                  the last role: `primary` or `replica`
//! <data>/dbs/X/database        and journal, wal, shm: what SQLite wrote
//! <data>/dbs/X/incarnation     16 hex digits: which life of a database of that name this is
//! <data>/dbs/X/unfinished      a TXID, while an import is being applied
//! <data>/dbs/X/table           the page-checksum table, only between a clean stop and the next start
//! <data>/dbs/X/table-base      a table of some position in the log, to compute later ones from
//! <data>/dbs/X/shown-counter   on a replica: a change counter of its own, and what the primary has
//! <data>/dbs/X/ltx/            <min TXID>-<max TXID>.ltx
//! <data>/super/                super-journals of transactions over several databases
//! <data>/aside/                deleted databases and replaced histories
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext};
use crate::name::{DbName, FileKind};

/// The data directory.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// A data directory at `path`; nothing is looked at or made.
    pub fn new(path: impl Into<PathBuf>) -> DataDir {
        DataDir(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Which start of the machine the directory was used in last.
    pub(crate) fn boot(&self) -> PathBuf {
        self.0.join("boot")
    }

    /// The replicas that were connected in the last days.
    pub(crate) fn replicas(&self) -> PathBuf {
        self.0.join("replicas")
    }

    /// Where the last role is noted.
    pub(crate) fn role(&self) -> PathBuf {
        self.0.join("role")
    }

    /// Where the databases are.
    pub fn dbs(&self) -> PathBuf {
        self.0.join("dbs")
    }

    /// Where super-journals are.
    pub fn super_journals(&self) -> PathBuf {
        self.0.join("super")
    }

    /// Where deleted databases and replaced histories go.
    pub fn aside(&self) -> PathBuf {
        self.0.join("aside")
    }

    /// The directory of one database.
    pub fn database(&self, db: &DbName) -> DatabaseDir {
        DatabaseDir(self.dbs().join(db.as_str()))
    }
}

/// The directory of one database.
#[derive(Debug, Clone)]
pub struct DatabaseDir(PathBuf);

impl DatabaseDir {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A backing file.
    pub fn file(&self, kind: FileKind) -> PathBuf {
        self.0.join(kind.backing_name())
    }

    /// Makes the -wal and the -shm, empty, owned like `database`, if they are not there: on a replica an application
    /// must never be the one who creates them, for that would hold the directory while it waits for the store.
    pub(crate) fn make_log_files(&self, database: &Path) -> Result<(), Error> {
        let meta = fs::metadata(database).ok();
        for kind in [FileKind::Wal, FileKind::Shm] {
            let path = self.file(kind);
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .during("create", &path)?;
            if let Some(meta) = &meta {
                use std::fs::Permissions;
                use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
                // SQLite's readers write their marks into the -shm.
                let extra = if kind == FileKind::Shm { 0o666 } else { 0 };
                let permissions = Permissions::from_mode(meta.mode() & 0o777 | extra);
                file.set_permissions(permissions)
                    .during("set the permissions of", &path)?;
                // Only root may; for another user the owner is the same anyway.
                let _ = fchown(&file, Some(meta.uid()), Some(meta.gid()));
            }
        }
        Ok(())
    }

    pub(crate) fn ltx(&self) -> PathBuf {
        self.0.join("ltx")
    }

    pub(crate) fn incarnation(&self) -> PathBuf {
        self.0.join("incarnation")
    }

    /// While the primary applies a transaction itself (an import): its TXID.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.0.join("unfinished")
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.0.join("table")
    }

    /// An empty file: another node has, or had, the database.
    pub(crate) fn replicated(&self) -> PathBuf {
        self.0.join("replicated")
    }

    /// The terms that wrote to it.
    pub(crate) fn history(&self) -> PathBuf {
        self.0.join("history")
    }

    /// On a replica: what page 1 shows in place of what the primary has.
    pub(crate) fn shown_counter(&self) -> PathBuf {
        self.0.join("shown-counter")
    }

    /// A table that vouches for no file, but for a position of the log.
    pub(crate) fn table_base(&self) -> PathBuf {
        self.0.join("table-base")
    }
}

/// Writes a small file so that it is there in full or not at all, and stays there.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).during("create", &temporary)?;
    file.write_all(content).during("write", &temporary)?;
    file.sync_all().during("sync", &temporary)?;
    fs::rename(&temporary, path).during("rename to", path)?;
    if let Some(parent) = path.parent() {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Writes a small file so that it is there in full or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).during("write", &temporary)?;
    fs::rename(&temporary, path).during("rename to", path)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .during("sync directory", path)
}

/// Removes a file; that it does not exist is as good.
pub(crate) fn remove_if_exists(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).during("remove", path)
        }
        _ => Ok(()),
    }
}
