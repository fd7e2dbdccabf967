//! The API and the stream to replicas, on one port.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use http_api::{ApiConfig, ReplicaSummary};
use replication::{FollowState, Replicas, ServerConfig, TailWindow};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::version;
use crate::config::Config;
use crate::host;

/// Counts the requests of the mount, by kind.
pub(super) type FuseRequests = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// What the API shows and serves.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    /// How a replica stands with its primary.
    pub(super) following: Option<watch::Receiver<FollowState>>,
    pub(super) fuse_requests: FuseRequests,
    pub(super) tails: TailWindow,
}

/// Serves until `cancel` is cancelled.
pub(super) fn serve(
    listener: TcpListener,
    config: &Config,
    parts: Parts,
    cancel: CancellationToken,
) -> JoinHandle<std::io::Result<()>> {
    let Parts {
        store,
        following,
        fuse_requests,
        tails,
    } = parts;
    let hostname = host::hostname();
    let server = ServerConfig {
        hostname: hostname.clone(),
        tails,
        ..ServerConfig::default()
    };
    let (stream, replicas) = replication::server(Arc::clone(&store), server, cancel.clone());
    let api = http_api::router(ApiConfig {
        store,
        mount_dir: config.fuse.dir.clone(),
        hostname,
        candidate: config.lease.lease.is_primary(),
        version: version::number().to_owned(),
        replicas: Arc::new(move || summaries(&replicas)),
        stream_state: Arc::new(move || stream_state(following.as_ref())),
        fuse_requests,
    });
    let app = api
        .merge(stream)
        .into_make_service_with_connect_info::<SocketAddr>();
    // A transaction is to leave at once, not when the last one is acknowledged.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
    });
    tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(cancel.cancelled_owned())
            .into_future(),
    )
}

fn summaries(replicas: &Replicas) -> Vec<ReplicaSummary> {
    let summary = |replica: replication::ReplicaStatus| ReplicaSummary {
        node_id: replica.node_id,
        hostname: replica.hostname,
        address: replica.address,
    };
    replicas.list().into_iter().map(summary).collect()
}

/// What the connection to the primary is doing; a primary has none.
fn stream_state(following: Option<&watch::Receiver<FollowState>>) -> String {
    let Some(following) = following else {
        return "none: this node is the primary".to_owned();
    };
    match &*following.borrow() {
        FollowState::Connecting { error: None } => "connecting".to_owned(),
        FollowState::Connecting { error: Some(error) } => format!("not connected: {error}"),
        FollowState::Connected => "connected, catching up".to_owned(),
        FollowState::InSync => "in sync".to_owned(),
        FollowState::Refused { reason } => format!("refused: {reason}"),
        FollowState::Stopped => "stopped".to_owned(),
    }
}
