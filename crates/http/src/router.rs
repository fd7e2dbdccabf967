//! The paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use store::Store;

use crate::config::ApiConfig;
use crate::error::Error;
use crate::info::Drains;
use crate::transfer::Transfers;
use crate::{control, export, health, import, info, metrics};

const NODE_ID: HeaderName = HeaderName::from_static("litefs-id");
const CLUSTER_ID: HeaderName = HeaderName::from_static("litefs-cluster-id");
/// The position of a database, `TXID/checksum` in hex.
pub(crate) const POS: HeaderName = HeaderName::from_static("litefs-pos");
/// On a refusal of what only the primary can do: the base URL of the primary's API, where it is known.
pub(crate) const PRIMARY: HeaderName = HeaderName::from_static("litefs-primary");

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) config: ApiConfig,
    pub(crate) transfers: Transfers,
    pub(crate) drains: Drains,
}

impl Api {
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.config.store
    }
}

/// The API as routes, ready to be served.
///
/// It answers unknown paths itself. A router that is merged with it must have no fallback of its own
/// (`Router::reset_fallback`), else axum panics.
pub fn router(config: ApiConfig) -> Router {
    let api = Arc::new(Api {
        config,
        transfers: Transfers::new(),
        drains: Drains::new(),
    });
    Router::new()
        .route("/info", get(info::info))
        .route("/export", get(export::export))
        .route("/import", post(import::import))
        .route("/metrics", get(metrics::metrics))
        .route("/promote", post(control::promote))
        .route("/handoff", post(control::handoff))
        .route("/health", get(health::health))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .fallback(async || Error::NoSuchPath)
        .layer(middleware::map_response_with_state(
            Arc::clone(&api),
            identify,
        ))
        .with_state(api)
}

/// Says on every answer which node of which cluster it comes from.
async fn identify(State(api): State<Arc<Api>>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.extend(text_header(
        NODE_ID,
        &format!("{:016X}", api.store().node_id()),
    ));
    if let Some(cluster) = api.store().cluster_id() {
        headers.extend(text_header(CLUSTER_ID, &cluster.to_string()));
    }
    response
}

/// A header, unless the text has bytes that no header may have: then it is left out.
pub(crate) fn text_header(name: HeaderName, text: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(text).ok().map(|value| (name, value))
}
