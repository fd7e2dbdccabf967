//! A node: a store, and what serves or follows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use ltx::Pos;
use replication::{FollowConfig, FollowState, Follower, Replicas, ServerConfig};
use store::testing::DirectMount;
use store::{DbName, Epoch, PrimaryInfo, Role, Store, StoreConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::until;

pub const HEARTBEAT: Duration = Duration::from_millis(100);

pub fn name(text: &str) -> DbName {
    DbName::new(text).unwrap()
}

/// A store in a directory of its own.
pub struct Node {
    pub store: Arc<Store>,
    pub dir: TempDir,
}

impl Node {
    /// A node that begins in this role.
    pub fn new(role: Role) -> Node {
        Node::in_directory(tempfile::tempdir().unwrap(), role)
    }

    pub fn in_directory(dir: TempDir, role: Role) -> Node {
        let store = Store::open(StoreConfig::new(dir.path()), role).unwrap();
        store.attach_mount(Arc::new(DirectMount::new(store.data_dir().clone())));
        Node { store, dir }
    }

    pub fn primary() -> Node {
        Node::new(Role::Primary {
            epoch: Epoch::new(1),
        })
    }

    pub fn replica() -> Node {
        Node::new(Role::Replica { primary: None })
    }

    /// A replica with a copy of this node's identity, as if its data directory had been copied.
    pub fn cloned(&self) -> Node {
        let fresh = Node::replica();
        fresh.store.close();
        let Node { store, dir } = fresh;
        drop(store);
        std::fs::copy(self.dir.path().join("nodeid"), dir.path().join("nodeid")).unwrap();
        Node::in_directory(dir, Role::Replica { primary: None })
    }

    /// Makes `image` the content of a database, as one transaction.
    pub fn import(&self, db: &str, image: &[u8]) -> Pos {
        let mut import = self.store.begin_import(&name(db)).unwrap();
        import.write(image).unwrap();
        import.commit().unwrap()
    }

    /// The content of a database. None if there is no such database.
    pub fn content(&self, db: &str) -> Option<Vec<u8>> {
        let database = self.store.database(&name(db))?;
        if database.pos() == Pos::EMPTY {
            return None;
        }
        let mut content = Vec::new();
        database
            .snapshot()
            .unwrap()
            .write_database(&mut content)
            .unwrap();
        Some(content)
    }

    pub fn pos(&self, db: &str) -> Pos {
        self.store
            .database(&name(db))
            .map_or(Pos::EMPTY, |database| database.pos())
    }

    pub fn names(&self) -> Vec<String> {
        self.store
            .databases()
            .iter()
            .map(|database| database.name().to_string())
            .collect()
    }

    /// Lets replicas follow.
    pub async fn serve(&self) -> Serving {
        Serving::start(Arc::clone(&self.store)).await
    }

    /// Follows what listens there.
    pub fn follow(&self, url: &str) -> Following {
        self.follow_with(config(url))
    }

    pub fn follow_with(&self, config: FollowConfig) -> Following {
        Following::start(Follower::new(Arc::clone(&self.store), config))
    }

    /// The same directory, opened anew.
    pub fn restart(self, role: Role) -> Node {
        let Node { store, dir } = self;
        store.close();
        assert_eq!(
            Arc::strong_count(&store),
            1,
            "somebody still uses the store"
        );
        drop(store);
        Node::in_directory(dir, role)
    }
}

/// Follows everything, impatiently.
pub fn config(url: &str) -> FollowConfig {
    FollowConfig {
        reconnect_min: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(200),
        silence: Duration::from_secs(1),
        ..FollowConfig::new(
            PrimaryInfo {
                hostname: "primary-host".to_owned(),
                advertise_url: url.to_owned(),
            },
            "replica-host".to_owned(),
        )
    }
}

/// A server on the loopback interface, until dropped.
pub struct Serving {
    pub address: SocketAddr,
    pub replicas: Replicas,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(store: Arc<Store>) -> Serving {
        let cancel = CancellationToken::new();
        let config = ServerConfig {
            tails: Default::default(),
            heartbeat: HEARTBEAT,
            hostname: "primary-host".to_owned(),
        };
        let (router, replicas) = replication::server(store, config, cancel.clone());
        // As in the program: it shares the port with another API.
        let router = axum::Router::new()
            .route("/other", axum::routing::get(|| async { "something else" }))
            .merge(router);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Serving {
            address,
            replicas,
            cancel,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all streams, and takes no more.
    pub async fn stop(self) {
        self.cancel.cancel();
        until("all streams have ended", || self.replicas.count() == 0).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

/// A follower at work.
pub struct Following {
    pub state: watch::Receiver<FollowState>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    pub fn start(follower: Follower) -> Following {
        let cancel = CancellationToken::new();
        let state = follower.state();
        let task = tokio::spawn(follower.run(cancel.clone()));
        Following {
            state,
            cancel,
            task,
        }
    }

    /// Waits for a state.
    pub async fn until(&self, what: &str, is: impl Fn(&FollowState) -> bool) -> FollowState {
        let mut state = self.state.clone();
        let found = tokio::time::timeout(super::SOON, state.wait_for(|state| is(state))).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("still not {what}, but {:?}", *self.state.borrow()),
        }
    }

    pub async fn until_in_sync(&self) {
        self.until("in sync", |state| *state == FollowState::InSync)
            .await;
    }

    /// Waits for a refusal: its reason.
    pub async fn until_refused(&self) -> String {
        match self
            .until("refused", |state| {
                matches!(state, FollowState::Refused { .. })
            })
            .await
        {
            FollowState::Refused { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}
