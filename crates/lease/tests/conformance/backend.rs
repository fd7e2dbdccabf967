//! Lease stores as the cases see them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lease::testing::ManualClock;
use lease::{
    Answer, ConsulConfig, ConsulEnvironment, ConsulLease, Leaser, MemoryStore, Place, Positions,
    Post, Record, SessionId,
};

use crate::agent::http;

/// The TTL of leases.
pub(crate) const TTL: Duration = Duration::from_secs(10);

/// The lock-delay.
pub(crate) const LOCK_DELAY: Duration = Duration::from_millis(500);

/// Something that is being done.
pub(crate) type Doing<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An empty lease store, and what others than its nodes do to it.
pub(crate) trait Backend: Send + Sync {
    /// A further node.
    fn node(&self) -> Arc<dyn Leaser>;
    /// Lets a few milliseconds pass.
    fn tick(&self) -> Doing<'_, ()>;
    /// An operator ends a session.
    fn end_session<'a>(&'a self, id: &'a SessionId) -> Doing<'a, ()>;
    /// A stranger writes the key of the lease, or deletes it.
    fn intrude<'a>(&'a self, value: Option<&'a str>) -> Doing<'a, ()>;
}

pub(crate) struct MemoryBackend {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl MemoryBackend {
    pub(crate) fn new() -> MemoryBackend {
        let clock = Arc::new(ManualClock::new());
        MemoryBackend {
            store: MemoryStore::new(clock.clone(), 2 * TTL, LOCK_DELAY),
            clock,
        }
    }
}

impl Backend for MemoryBackend {
    fn node(&self) -> Arc<dyn Leaser> {
        Arc::new(self.store.lease(TTL))
    }

    fn tick(&self) -> Doing<'_, ()> {
        Box::pin(async {
            self.clock.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        })
    }

    fn end_session<'a>(&'a self, id: &'a SessionId) -> Doing<'a, ()> {
        self.store.end_session(id);
        Box::pin(async {})
    }

    fn intrude<'a>(&'a self, value: Option<&'a str>) -> Doing<'a, ()> {
        self.store.intrude(value);
        Box::pin(async {})
    }
}

pub(crate) struct ConsulBackend {
    address: SocketAddr,
    config: ConsulConfig,
    path: String,
}

impl ConsulBackend {
    pub(crate) fn new(address: SocketAddr, key: &str) -> ConsulBackend {
        ConsulBackend::with_url(address, &format!("http://{address}"), key)
    }

    pub(crate) fn with_url(address: SocketAddr, url: &str, key: &str) -> ConsulBackend {
        let prefix = url.splitn(4, '/').nth(3).map(|path| format!("{path}/"));
        ConsulBackend {
            address,
            path: format!("/v1/kv/{}{key}", prefix.unwrap_or_default()),
            config: ConsulConfig {
                url: url.to_owned(),
                key: key.to_owned(),
                ttl: TTL,
                lock_delay: LOCK_DELAY,
                hostname: Some("host".to_owned()),
            },
        }
    }

    pub(crate) fn lease(&self) -> ConsulLease {
        ConsulLease::new(&self.config, &ConsulEnvironment::default()).unwrap()
    }

    async fn ask(&self, method: &str, target: &str, body: &str) {
        let answer = http(self.address, method, target, body).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Backend for ConsulBackend {
    fn node(&self) -> Arc<dyn Leaser> {
        Arc::new(self.lease())
    }

    fn tick(&self) -> Doing<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(10)))
    }

    fn end_session<'a>(&'a self, id: &'a SessionId) -> Doing<'a, ()> {
        Box::pin(async {
            let target = format!("/v1/session/destroy/{}", id.0);
            self.ask("PUT", &target, "").await;
        })
    }

    fn intrude<'a>(&'a self, value: Option<&'a str>) -> Doing<'a, ()> {
        Box::pin(async move {
            match value {
                Some(value) => self.ask("PUT", &self.path, value).await,
                None => self.ask("DELETE", &self.path, "").await,
            }
        })
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + within;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < end,
            "not within {within:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The answer, which comes within seconds.
pub(crate) async fn soon<T>(answer: Answer<'_, T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .expect("an answer within 10 s")
        .unwrap()
}

/// The record of node `id`.
pub(crate) fn record(id: u64, epoch: u64) -> Record {
    Record {
        hostname: format!("host-{id}"),
        advertise_url: format!("http://host-{id}:20202"),
        node_id: id,
        boot_id: "boot".to_owned(),
        cluster_id: "LFSC1".to_owned(),
        epoch,
        n: 0,
        ttl_ms: 10_000,
    }
}

/// The same, renewed so many times.
pub(crate) fn renewed(record: &Record, n: u64) -> Record {
    Record {
        n,
        ..record.clone()
    }
}

/// The post of node `id`, with that many databases.
pub(crate) fn post(id: u64, databases: u64) -> Post {
    Post {
        node_id: id,
        hostname: format!("host-{id}"),
        advertise_url: format!("http://host-{id}:20202"),
        epoch: 3,
        seen_epoch: u64::MAX,
        positions: positions("db", databases),
        dropped: positions("dropped", databases.min(2)),
        willing: true,
        ballot: u64::MAX,
    }
}

/// That many databases.
pub(crate) fn positions(name: &str, databases: u64) -> Positions {
    let place = |i| Place {
        incarnation: u64::MAX - i,
        txid: u64::MAX - i,
    };
    (0..databases)
        .map(|i| (format!("{name}-{i} \"of ü\".db"), place(i)))
        .collect()
}
