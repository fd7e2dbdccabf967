//! The lanes of all databases that something came for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use store::{DbName, Store};

use super::lane::{Job, Lane};
use super::link::Link;
use crate::error::Violation;

/// The lanes of all databases that something came for, beyond a single connection.
pub(crate) struct Lanes {
    store: Arc<Store>,
    lanes: HashMap<DbName, Arc<Lane>>,
    /// Counts connections, so that the work of an earlier one is recognised.
    connection: u64,
    link: Option<Arc<Link>>,
}

impl Lanes {
    pub(crate) fn new(store: Arc<Store>) -> Lanes {
        Lanes {
            store,
            lanes: HashMap::new(),
            connection: 0,
            link: None,
        }
    }

    /// Lets go of the connection there was: what was queued is void. The databases that are still being worked on.
    pub(crate) fn detach(&mut self) -> HashSet<DbName> {
        self.connection += 1;
        self.link = None;
        let connection = self.connection;
        self.lanes.retain(|_, lane| lane.detach(connection));
        self.lanes.keys().cloned().collect()
    }

    /// The new connection stands: what was being worked on joins when it is done.
    pub(crate) fn attach(&mut self, link: Arc<Link>) {
        for lane in self.lanes.values() {
            lane.attach(Arc::clone(&link));
        }
        self.link = Some(link);
    }

    /// Queues a job. Must be called within a Tokio runtime, between attach and detach.
    pub(crate) fn push(&mut self, name: DbName, round: u64, job: Job) -> Result<(), Violation> {
        if let Some(lane) = self.lanes.get(&name) {
            return lane.push(round, job);
        }
        let Some(link) = &self.link else {
            return Err(Violation::Unexpected("a chunk before the hello"));
        };
        let lane = Lane::new(
            name.clone(),
            Arc::clone(&self.store),
            self.connection,
            Arc::clone(link),
        );
        let lane = Arc::new(lane);
        let pushed = lane.push(round, job);
        self.lanes.insert(name, lane);
        pushed
    }

    /// Asks for the whole content of a database. Must be called between attach and detach.
    pub(crate) fn ask_for_all(&mut self, name: &DbName) {
        let Some(link) = &self.link else { return };
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| {
            let store = Arc::clone(&self.store);
            let lane = Lane::new(name.clone(), store, self.connection, Arc::clone(link));
            Arc::new(lane)
        });
        lane.ask_for_all();
    }

    /// Lets go of the connection, and waits until nothing is being applied any more.
    pub(crate) async fn close(&mut self) {
        self.detach();
        for (_, lane) in self.lanes.drain() {
            lane.until_idle().await;
        }
    }
}
