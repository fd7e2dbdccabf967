//! `POST /promote` and `POST /handoff`: who is to be the primary.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::router::Api;

/// Something that is being done in the cluster.
pub type Acting<'a> = Pin<Box<dyn Future<Output = Result<(), NotDone>> + Send + 'a>>;

/// What the API may ask of the node's part in its cluster. It ends within a bounded time.
pub trait Control: Send + Sync {
    /// Makes this node the primary: it asks the primary to hand over, and waits until it has. `force`: although it lacks
    /// something that the cluster has, as soon as the lease is free.
    fn promote(&self, force: bool) -> Acting<'_>;

    /// On the primary: hands over to the node with that number, or to the candidate that is the most advanced.
    fn handoff(&self, to: Option<u64>) -> Acting<'_>;
}

/// Why it was not done, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// This node cannot become the primary by its configuration.
    NotEligible(String),
    /// It went wrong, and things are as before.
    Failed(String),
}

#[derive(Deserialize)]
pub(crate) struct Promote {
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handoff {
    #[serde(rename = "nodeID")]
    node_id: Option<String>,
}

pub(crate) async fn promote(
    State(api): State<Arc<Api>>,
    query: Result<Query<Promote>, axum::extract::rejection::QueryRejection>,
) -> (StatusCode, String) {
    match query {
        Ok(Query(Promote { force })) => answer(api.config.control.promote(force).await),
        Err(_) => (StatusCode::BAD_REQUEST, "invalid force\n".to_owned()),
    }
}

pub(crate) async fn handoff(
    State(api): State<Arc<Api>>,
    Query(Handoff { node_id }): Query<Handoff>,
) -> (StatusCode, String) {
    let to = node_id.filter(|text| !text.is_empty());
    let to = to.map(|text| match text.len() {
        1..=16 => u64::from_str_radix(&text, 16).ok(),
        _ => None,
    });
    match to {
        Some(None) => (StatusCode::BAD_REQUEST, "invalid node id\n".to_owned()),
        to => answer(api.config.control.handoff(to.flatten()).await),
    }
}

fn answer(done: Result<(), NotDone>) -> (StatusCode, String) {
    match done {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(NotDone::NotEligible(why)) => (StatusCode::CONFLICT, format!("{why}\n")),
        Err(NotDone::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}
