//! The API and the stream to replicas, on one port.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::serve::ListenerExt as _;
use http_api::{ApiConfig, LeaseSummary, ReplicaSummary};
use lease::{MemberHandle, MemberStatus, Phase};
use replication::{FollowState, Replicas, ServerConfig, TailWindow};
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::Control;
use super::local::{FuseCounter, Local, Shown};
use crate::commands::version;
use crate::config::Config;

/// The stream to replicas, which shares the port with the API.
pub(super) struct Stream {
    routes: axum::Router,
    replicas: Replicas,
    cancel: CancellationToken,
}

/// What the API shows and serves.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    pub(super) shown: Shown,
    pub(super) requests: Arc<OnceLock<FuseCounter>>,
    pub(super) local: Arc<Local>,
    pub(super) member: MemberHandle,
}

impl Stream {
    /// All streams end when `cancel` is cancelled.
    pub(super) fn new(
        store: &Arc<Store>,
        config: &Config,
        tails: TailWindow,
        cancel: CancellationToken,
    ) -> Stream {
        let server = ServerConfig {
            hostname: config.lease.hostname.clone(),
            tails,
            ..ServerConfig::default()
        };
        let (routes, replicas) = replication::server(Arc::clone(store), server, cancel.clone());
        Stream {
            routes,
            replicas,
            cancel,
        }
    }

    /// The replicas that are connected.
    pub(super) fn replicas(&self) -> Replicas {
        self.replicas.clone()
    }

    /// Serves until cancelled.
    pub(super) fn serve(
        self,
        listener: TcpListener,
        config: &Config,
        parts: Parts,
    ) -> JoinHandle<std::io::Result<()>> {
        let Parts {
            store,
            shown,
            requests,
            local,
            member,
        } = parts;
        let (status, of_stream) = (member.status(), member.status());
        let replicas = self.replicas;
        let api = http_api::router(ApiConfig {
            store,
            mount_dir: config.fuse.dir.clone(),
            hostname: config.lease.hostname.clone(),
            candidate: config.lease.candidate,
            version: version::number().to_owned(),
            replicas: Arc::new(move || summaries(&replicas)),
            stream_state: Arc::new(move || stream_state(&shown, &of_stream.borrow())),
            fuse_requests: Arc::new(move || requests.get().map_or_else(Vec::new, |count| count())),
            lease: Arc::new(move || lease_summary(&status.borrow())),
            control: Arc::new(Control::new(local, member)),
        });
        let app = api
            .merge(self.routes)
            .into_make_service_with_connect_info::<SocketAddr>();
        // A transaction is to leave at once, not when the last one is acknowledged.
        let listener = listener.tap_io(|socket| {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY not set");
            }
        });
        tokio::spawn(
            axum::serve(listener, app)
                .with_graceful_shutdown(self.cancel.cancelled_owned())
                .into_future(),
        )
    }
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
fn stream_state(shown: &Shown, member: &MemberStatus) -> String {
    let following = shown.stream.borrow();
    let Some(following) = &*following else {
        return match &member.phase {
            Phase::Waiting { why } => format!("none: {why}"),
            _ => "none: this node is the primary".to_owned(),
        };
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

fn lease_summary(member: &MemberStatus) -> LeaseSummary {
    let (state, epoch, detail) = match &member.phase {
        Phase::Waiting { why } => ("waiting", None, Some(why.clone())),
        Phase::Follower { primary } => ("follower", Some(primary.epoch), None),
        Phase::Electing => ("electing", None, None),
        Phase::Rising { epoch } => ("rising", Some(*epoch), None),
        Phase::Primary { epoch, .. } => ("primary", Some(*epoch), None),
        Phase::Frozen { epoch, .. } => ("handing over", Some(*epoch), None),
        Phase::Stopped => ("stopped", None, None),
    };
    LeaseSummary {
        state,
        epoch,
        detail,
        refusal: member.refusal.clone(),
        trouble: member.trouble.clone(),
    }
}
