//! The guard, as the store knows it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Mutex;

use store::{DbName, Held, Keeper};

use crate::guard::Link;

/// Files that are locked, by database: the database, and the -shm.
type Locked = BTreeMap<String, (File, Option<File>)>;

/// See [`Keeper`].
pub(super) struct GuardKeeper {
    guard: Link,
    /// What the guard has locked since the process before this one died.
    locked: Mutex<Locked>,
    /// Databases that it was writing in place.
    exclusive: Mutex<BTreeMap<String, File>>,
}

impl GuardKeeper {
    pub(super) fn new(
        guard: Link,
        locked: Locked,
        exclusive: BTreeMap<String, File>,
    ) -> GuardKeeper {
        GuardKeeper {
            guard,
            locked: Mutex::new(locked),
            exclusive: Mutex::new(exclusive),
        }
    }
}

impl Keeper for GuardKeeper {
    fn hold(&self, db: &DbName, files: Held) -> io::Result<()> {
        self.guard.hold(db.as_str(), &files)
    }

    fn let_go(&self, db: &DbName) {
        if let Err(error) = self.guard.let_go(db.as_str()) {
            tracing::error!(database = %db, %error, "the guard cannot be told");
        }
    }

    fn release(&self, db: &DbName) {
        if let Err(error) = self.guard.release(db.as_str()) {
            tracing::error!(database = %db, %error, "the guard cannot be told");
        }
    }

    fn keep_exclusive(&self, db: &DbName, locked: Option<&File>) -> io::Result<()> {
        self.guard.keep_exclusive(db.as_str(), locked)
    }

    fn take_exclusive(&self, db: &DbName) -> Option<File> {
        let mut exclusive = self
            .exclusive
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        exclusive.remove(db.as_str())
    }

    fn take_back(&self, db: &DbName) -> Option<(File, Option<File>)> {
        let mut locked = self
            .locked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        locked.remove(db.as_str())
    }
}
