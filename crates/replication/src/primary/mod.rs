//! The primary's side: serves replicas.

mod feed;
mod flow;
mod greeting;
mod outbound;
mod pump;
mod replicas;
mod requests;
mod session;
mod signals;
mod source;
mod tail;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request as HttpRequest};
use axum::http::{StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response as HttpResponse};
use store::Store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::{
    greeting::{Greeting, Reception},
    outbound::{Outbound, Turn},
    requests::{Heard, receive},
};
pub use replicas::{ReplicaStatus, Replicas};
pub use tail::TailWindow;

use crate::proto::replication_server::{Replication, ReplicationServer};
use crate::proto::{PrimaryMessage, ReplicaMessage, primary_message};
use crate::wire::MESSAGE_MAX;

/// Messages that wait for the network. Each is a chunk at most.
const OUTBOX: usize = 4;

/// How the primary serves replicas.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Time between heartbeats. A replica that is not heard for five of them is given up.
    pub heartbeat: Duration,
    /// This node's host name, for the replicas' status displays.
    pub hostname: String,
    /// Open while this node takes back what it lost and replicas have.
    pub tails: TailWindow,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            heartbeat: Duration::from_secs(1),
            hostname: String::new(),
            tails: TailWindow::default(),
        }
    }
}

impl ServerConfig {
    /// Time between heartbeats; there is no pace of zero.
    pub(crate) fn pace(&self) -> Duration {
        self.heartbeat.max(Duration::from_millis(1))
    }

    /// After so much silence a replica is given up.
    pub(crate) fn silence(&self) -> Duration {
        self.pace() * 5
    }

    /// A replica that was heard within this time is alive.
    pub(crate) fn alive(&self) -> Duration {
        self.pace() * 5 / 2
    }
}

/// The service by which replicas follow this node, and the list of those that do.
///
/// The router has one route and no fallback: merge it into the router of the HTTP API, so that both share a port.
/// It may be served while the node is not the primary; replicas are then told so. What serves it should
///
/// - speak HTTP/2 without TLS beside HTTP/1 (`axum::serve` does),
/// - set TCP_NODELAY on accepted sockets, else small transactions wait for acknowledgements of TCP
///   (`axum::serve::ListenerExt::tap_io`),
/// - offer the peer's address as [`ConnectInfo`] (`into_make_service_with_connect_info::<SocketAddr>()`), for
///   [`ReplicaStatus::address`].
///
/// All streams end when `cancel` is cancelled. Making the router needs no Tokio runtime, serving it does.
pub fn server(
    store: Arc<Store>,
    config: ServerConfig,
    cancel: CancellationToken,
) -> (axum::Router, Replicas) {
    let replicas = Replicas::default();
    let service = Service {
        store,
        config,
        cancel,
        replicas: replicas.clone(),
    };
    let server = ReplicationServer::new(service)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let path = format!("/{}/{{*method}}", ReplicationServer::<Service>::NAME);
    let router = axum::Router::new()
        .route_service(&path, server)
        .route_layer(middleware::from_fn(only_grpc));
    (router, replicas)
}

/// Tells what is not a gRPC client so in its own language.
async fn only_grpc(request: HttpRequest, next: Next) -> HttpResponse {
    if request.version() != Version::HTTP_2 {
        let upgrade = [(header::UPGRADE, "h2c")];
        return (
            StatusCode::UPGRADE_REQUIRED,
            upgrade,
            "replication needs HTTP/2\n",
        )
            .into_response();
    }
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/grpc") {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "replication needs gRPC\n",
        )
            .into_response();
    }
    next.run(request).await
}

#[derive(Clone)]
struct Service {
    store: Arc<Store>,
    config: ServerConfig,
    cancel: CancellationToken,
    replicas: Replicas,
}

#[tonic::async_trait]
impl Replication for Service {
    type ReplicateStream = ReceiverStream<Result<PrimaryMessage, Status>>;

    async fn replicate(
        &self,
        request: Request<Streaming<ReplicaMessage>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let address = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0)
            .or_else(|| request.remote_addr())
            .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let stream = session::Stream {
            incoming: request.into_inner(),
            outbox,
            address,
        };
        // A task of its own, not part of the response: it must find a dead peer also while HTTP/2 takes nothing.
        tokio::spawn(session::serve(self.clone(), stream));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// Wraps a message.
fn message(message: primary_message::Message) -> PrimaryMessage {
    PrimaryMessage {
        message: Some(message),
    }
}
