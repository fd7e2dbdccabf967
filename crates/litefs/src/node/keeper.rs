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
}

impl GuardKeeper {
    pub(super) fn new(guard: Link, locked: Locked) -> GuardKeeper {
        GuardKeeper {
            guard,
            locked: Mutex::new(locked),
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

    fn take_back(&self, db: &DbName) -> Option<(File, Option<File>)> {
        let mut locked = self
            .locked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        locked.remove(db.as_str())
    }
}
