//! The replicas that are connected, for status displays and to tell copies of a node apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ltx::Pos;
use parking_lot::Mutex;
use store::DbName;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::hello::Peer;
use crate::{Refusal, RefusalReason};

/// A replica that is connected, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Identity of its data directory.
    pub node_id: u64,
    /// Its host name, as it says.
    pub hostname: String,
    /// Where it connected from, as far as the server knows.
    pub address: String,
    /// Up to where it has applied each database, as it has acknowledged; sorted by name.
    pub acknowledged: Vec<(DbName, Pos)>,
    /// When it connected, in Unix milliseconds.
    pub connected_since_ms: i64,
    /// It may become the primary.
    pub candidate: bool,
}

/// The replicas that are connected. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Replicas {
    inner: Arc<Mutex<Registry>>,
    /// One came or went, or has applied something.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    links: HashMap<u64, Arc<Link>>,
}

impl Replicas {
    /// The connected replicas, in the order in which they connected.
    pub fn list(&self) -> Vec<ReplicaStatus> {
        let mut links: Vec<_> = self
            .inner
            .lock()
            .links
            .iter()
            .map(|(id, link)| (*id, Arc::clone(link)))
            .collect();
        links.sort_by_key(|(id, _)| *id);
        links.into_iter().map(|(_, link)| link.status()).collect()
    }

    /// Waits until this is so. It is asked when a replica came or went, or has applied something.
    pub async fn until(&self, mut so: impl FnMut(&[ReplicaStatus]) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if so(&self.list()) {
                return;
            }
            changed.await;
        }
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.inner.lock().links.len()
    }

    /// Enters a replica, unless another process with the same data directory is alive: one that was heard within
    /// `alive`. An earlier connection of the same node is ended.
    pub(crate) fn enter(&self, mut link: Link, alive: Duration) -> Result<Entered, Error> {
        let mut registry = self.inner.lock();
        for earlier in registry
            .links
            .values()
            .filter(|earlier| earlier.peer.node_id == link.peer.node_id)
        {
            if earlier.peer.instance_id != link.peer.instance_id && earlier.silent_for() < alive {
                return Err(Error::Refusing(Refusal::new(
                    RefusalReason::Clone,
                    format!(
                        "node {:016x} is connected already from {} ({}): one data directory is a copy of the other's; \
                         remove the file with the node id from the copy",
                        link.peer.node_id, earlier.address, earlier.peer.hostname
                    ),
                )));
            }
            earlier.superseded.cancel();
        }
        registry.next += 1;
        let id = registry.next;
        link.changed = Arc::clone(&self.changed);
        let link = Arc::new(link);
        registry.links.insert(id, Arc::clone(&link));
        self.changed.notify_waiters();
        Ok(Entered {
            link,
            id,
            replicas: self.clone(),
        })
    }
}

/// What is known of a connected replica.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    address: String,
    since_ms: i64,
    acknowledged: Mutex<BTreeMap<DbName, Pos>>,
    heard: Mutex<Instant>,
    superseded: CancellationToken,
    changed: Arc<Notify>,
}

impl Link {
    pub(crate) fn new(peer: Peer, address: String) -> Link {
        Link {
            peer,
            address,
            since_ms: unix_ms(),
            acknowledged: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            superseded: CancellationToken::new(),
            changed: Arc::default(),
        }
    }

    /// Something came from it.
    pub(crate) fn note_heard(&self) {
        *self.heard.lock() = Instant::now();
    }

    pub(crate) fn silent_for(&self) -> Duration {
        self.heard.lock().elapsed()
    }

    /// It has applied a database up to there; [`Pos::EMPTY`] if it no longer has it. `true` if it had none before.
    pub(crate) fn note_position(&self, name: &DbName, pos: Pos) -> bool {
        let mut acknowledged = self.acknowledged.lock();
        let mut first = false;
        if pos == Pos::EMPTY {
            acknowledged.remove(name);
        } else if let Some(known) = acknowledged.get_mut(name) {
            *known = pos;
        } else {
            acknowledged.insert(name.clone(), pos);
            first = true;
        }
        drop(acknowledged);
        self.changed.notify_waiters();
        first
    }

    /// Ends when another connection has taken the place of this one.
    pub(crate) fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }

    fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            node_id: self.peer.node_id,
            hostname: self.peer.hostname.clone(),
            address: self.address.clone(),
            acknowledged: self
                .acknowledged
                .lock()
                .iter()
                .map(|(name, pos)| (name.clone(), *pos))
                .collect(),
            connected_since_ms: self.since_ms,
            candidate: self.peer.candidate,
        }
    }
}

/// Keeps a replica in the list until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    link: Arc<Link>,
    id: u64,
    replicas: Replicas,
}

impl std::ops::Deref for Entered {
    type Target = Link;
    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.replicas.inner.lock().links.remove(&self.id);
        self.replicas.changed.notify_waiters();
    }
}

/// The clock, in Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Epoch;

    const ALIVE: Duration = Duration::from_secs(3);

    fn link(node_id: u64, instance_id: u64) -> Link {
        let hostname = format!("node{node_id}");
        let peer = Peer {
            cluster: None,
            node_id,
            instance_id,
            hostname,
            epoch: Epoch::new(0),
            heartbeat_ms: 0,
            candidate: true,
        };
        Link::new(peer, "192.0.2.1:9".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_is_refused_while_the_original_is_alive() {
        let replicas = Replicas::default();
        let original = replicas.enter(link(1, 10), ALIVE).unwrap();
        let refused = replicas.enter(link(1, 11), ALIVE).unwrap_err();
        assert!(
            matches!(&refused, Error::Refusing(r) if r.reason == RefusalReason::Clone),
            "{refused}"
        );
        assert!(!original.superseded().is_cancelled());
        // A replica that lost its power and was started again comes before its old connection is found dead.
        tokio::time::advance(ALIVE).await;
        let restarted = replicas.enter(link(1, 11), ALIVE).unwrap();
        assert!(original.superseded().is_cancelled() && !restarted.superseded().is_cancelled());
    }

    #[tokio::test]
    async fn a_process_that_reconnects_replaces_its_earlier_connection() {
        let replicas = Replicas::default();
        let first = replicas.enter(link(1, 10), ALIVE).unwrap();
        let _other = replicas.enter(link(2, 20), ALIVE).unwrap();
        let second = replicas.enter(link(1, 10), ALIVE).unwrap();
        assert!(first.superseded().is_cancelled());
        assert_eq!(replicas.count(), 3);
        drop(first);
        drop(second);
        let left: Vec<_> = replicas
            .list()
            .into_iter()
            .map(|status| status.node_id)
            .collect();
        assert_eq!(left, [2]);
    }

    #[test]
    fn positions_are_listed_by_name_until_the_database_is_gone() {
        let link = link(1, 10);
        let name = |text: &str| DbName::new(text).unwrap();
        let pos = Pos::new(ltx::TxId::new(3), ltx::Checksum::EMPTY);
        link.note_position(&name("b"), pos);
        link.note_position(&name("a"), pos);
        assert_eq!(
            link.status().acknowledged,
            [(name("a"), pos), (name("b"), pos)]
        );
        link.note_position(&name("a"), Pos::EMPTY);
        assert_eq!(link.status().acknowledged, [(name("b"), pos)]);
    }
}
