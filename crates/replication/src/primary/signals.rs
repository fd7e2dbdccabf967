//! What happened in the store and in the pumps since a session last looked.

use std::collections::HashSet;

use parking_lot::Mutex;
use store::{DbName, Epoch, Event, Observer, Role};
use tokio::sync::Notify;

use crate::hello::Filter;

/// Collects what a session has to look at, from threads that must not wait, and wakes it.
///
/// Names only, each at most once: bounded by the number of databases however long the session does not look.
#[derive(Debug)]
pub(crate) struct Signals {
    epoch: Epoch,
    pending: Mutex<Pending>,
    wake: Notify,
}

/// What a session has to look at.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Databases whose position moved, or that are gone.
    pub(crate) changed: HashSet<DbName>,
    /// Databases whose pump has produced something, or ended.
    pub(crate) produced: HashSet<DbName>,
    /// Databases whose time to try again has come.
    pub(crate) retry: HashSet<DbName>,
    /// The node is no longer the primary of the epoch that the session began with.
    pub(crate) demoted: bool,
}

impl Signals {
    /// For a session that serves as the primary of `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Signals {
        Signals {
            epoch,
            pending: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Waits until there is something to look at. May wake for nothing.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Takes what there is to look at, as far as `filter` lets it through.
    pub(crate) fn take(&self, filter: &Filter) -> Pending {
        let mut pending = std::mem::take(&mut *self.pending.lock());
        pending.changed.retain(|name| filter.passes(name));
        pending
    }

    /// The pump of a database has produced something.
    pub(crate) fn produced(&self, name: &DbName) {
        self.note(|pending| pending.produced.insert(name.clone()));
    }

    /// It is time to try again with a database.
    pub(crate) fn retry(&self, name: &DbName) {
        self.note(|pending| pending.retry.insert(name.clone()));
    }

    fn note<T>(&self, change: impl FnOnce(&mut Pending) -> T) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }
}

impl Observer for Signals {
    fn event(&self, event: &Event) {
        match event {
            Event::Committed { db, .. } => {
                self.note(|pending| pending.changed.insert(db.name().clone()));
            }
            Event::Dropped { name, .. } => {
                self.note(|pending| pending.changed.insert(name.clone()));
            }
            Event::RoleChanged(role) => {
                let ours = Role::Primary { epoch: self.epoch };
                if *role != ours {
                    self.note(|pending| pending.demoted = true);
                }
            }
        }
    }
}
