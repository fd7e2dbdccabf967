//! Somebody who keeps applications from committing when this process cannot: it may die, or be stopped.

use std::fs::File;

use crate::name::DbName;

/// Files of a database that applications have open in WAL mode, opened through the mount for the keeper alone: locks on
/// them are the keeper's.
#[derive(Debug)]
pub struct Held {
    /// The database.
    pub database: File,
    /// The -shm; `None` if some connection has the wal-index in its own memory.
    pub shm: Option<File>,
    /// The -wal, if there is one: it can be taken away from connections that no lock keeps out.
    pub wal: Option<File>,
}

/// Outlives this process. What it is told it knows, whatever becomes of this process.
///
/// None of it waits for the mount.
pub trait Keeper: Send + Sync {
    /// From now on applications are to be kept from committing to a database when this process cannot see it. Takes the
    /// place of what was held before.
    fn hold(&self, db: &DbName, files: Held) -> std::io::Result<()>;

    /// No application has the database open any more, or this process holds the locks itself.
    fn let_go(&self, db: &DbName);

    /// This process is the primary, and knows what was committed since an earlier one died: applications may commit again.
    fn release(&self, db: &DbName);

    /// The database is being written in place, under a lock on this open file that must outlive this process: nobody may
    /// read half a transaction. `None`: that is over.
    fn keep_exclusive(&self, db: &DbName, locked: Option<&File>) -> std::io::Result<()>;

    /// Such a file of an earlier process. Once for each database.
    fn take_exclusive(&self, db: &DbName) -> Option<File>;

    /// What the keeper has locked since an earlier process died: the database with a shared lock on SHARED, the -shm with
    /// WAL_WRITE_LOCK, in the same open files. Once for each database.
    fn take_back(&self, db: &DbName) -> Option<(File, Option<File>)>;
}
