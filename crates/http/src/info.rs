//! `GET /info`: the node and its databases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::{DatabaseStatus, DbName, Lag, Role, Store};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{LeaseSummary, ReplicaSummary};
use crate::router::Api;

/// How long positions are waited for. What is asked for because something hangs must not hang itself.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// Limits the threads that wait for captures to one.
pub(crate) struct Drains(Arc<Semaphore>);

/// What `/info` shows. The first five fields are LiteFS's.
#[derive(Serialize)]
struct Info {
    #[serde(rename = "clusterID", skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(rename = "isPrimary")]
    is_primary: bool,
    candidate: bool,
    path: String,
    primary: Primary,
    #[serde(rename = "nodeID")]
    node_id: String,
    hostname: String,
    role: &'static str,
    version: String,
    /// Milliseconds behind the primary; 0 on the primary, null if never in sync.
    lag: Option<u64>,
    lease: LeaseSummary,
    stream: String,
    replicas: Vec<Replica>,
    /// How often something was put aside that no other node may have.
    unreplicated: Option<u64>,
    /// Whether the positions include all that was committed before the request.
    drained: bool,
    databases: Vec<DatabaseInfo>,
}

#[derive(Serialize)]
struct Primary {
    /// Empty if nobody is known to be the primary.
    hostname: String,
}

#[derive(Serialize)]
struct Replica {
    #[serde(rename = "nodeID")]
    node_id: String,
    hostname: String,
    address: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DatabaseInfo {
    name: String,
    txid: String,
    checksum: String,
    incarnation: String,
    mode: String,
    page_size: Option<u32>,
    page_count: u32,
    commits: u64,
    applied: u64,
    ltx_files: u64,
    ltx_bytes: u64,
    /// Milliseconds since 1970.
    last_change: Option<i64>,
    lag_ms: i64,
    /// Pages that the last scrub found damaged.
    damaged_pages: Vec<u32>,
    /// Why it is not replicating, or why its position could not be had.
    error: Option<String>,
}

pub(crate) async fn info(State(api): State<Arc<Api>>) -> Response {
    let drained = api.drains.drain(api.store()).await;
    match serde_json::to_string_pretty(&gather(&api, drained)) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "info not encoded");
            crate::error::Error::Interrupted.into_response()
        }
    }
}

fn gather(api: &Api, drained: Option<DrainErrors>) -> Info {
    let (store, config) = (api.store(), &api.config);
    let role = store.role();
    let is_drained = drained.is_some();
    let mut errors = drained.unwrap_or_default();
    let database = |status: DatabaseStatus| {
        let error = errors.remove(&status.name);
        DatabaseInfo::new(status, error)
    };
    Info {
        cluster_id: store.cluster_id().map(|id| id.to_string()),
        is_primary: role.is_primary(),
        candidate: config.candidate,
        path: config.mount_dir.display().to_string(),
        primary: Primary {
            hostname: primary_hostname(&role, &config.hostname),
        },
        node_id: format!("{:016X}", store.node_id()),
        hostname: config.hostname.clone(),
        role: role.word(),
        version: config.version.clone(),
        lag: match store.lag() {
            Lag::Primary => Some(0),
            Lag::NeverSynced => None,
            Lag::Behind(lag) => Some(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        },
        lease: (config.lease)(),
        stream: (config.stream_state)(),
        replicas: (config.replicas)().into_iter().map(Replica::from).collect(),
        unreplicated: store.unreplicated_count().ok(),
        drained: is_drained,
        databases: store
            .databases()
            .iter()
            .map(|db| db.status())
            .map(database)
            .collect(),
    }
}

fn primary_hostname(role: &Role, own: &str) -> String {
    match role {
        Role::Primary { .. } => own.to_owned(),
        Role::Replica {
            primary: Some(primary),
        } => primary.hostname.clone(),
        Role::Replica { primary: None } | Role::None => String::new(),
    }
}

impl From<ReplicaSummary> for Replica {
    fn from(replica: ReplicaSummary) -> Replica {
        let ReplicaSummary {
            node_id,
            hostname,
            address,
        } = replica;
        Replica {
            node_id: format!("{node_id:016X}"),
            hostname,
            address,
        }
    }
}

impl DatabaseInfo {
    fn new(status: DatabaseStatus, drain_error: Option<String>) -> DatabaseInfo {
        DatabaseInfo {
            name: status.name.to_string(),
            txid: status.pos.txid.to_string(),
            checksum: status.pos.checksum.to_string(),
            incarnation: status.incarnation.to_string(),
            mode: status.mode.to_string(),
            page_size: status.page_size,
            page_count: status.page_count,
            commits: status.commits,
            applied: status.applied,
            ltx_files: status.ltx_files,
            ltx_bytes: status.ltx_bytes,
            last_change: status.last_change_ms,
            damaged_pages: status.damaged_pages,
            lag_ms: status.lag_ms,
            error: status.latched.or(drain_error),
        }
    }
}

/// The databases whose capture ended with an error.
type DrainErrors = BTreeMap<DbName, String>;

impl Drains {
    pub(crate) fn new() -> Drains {
        Drains(Arc::new(Semaphore::new(1)))
    }

    /// Has every database capture what is committed; `None` if that took too long.
    async fn drain(&self, store: &Arc<Store>) -> Option<DrainErrors> {
        timeout(DRAIN_DEADLINE, async {
            let turn = Arc::clone(&self.0).acquire_owned().await.ok()?;
            let store = Arc::clone(store);
            let thread = spawn_blocking(move || {
                let errors = drain_all(&store);
                drop(turn);
                errors
            });
            thread.await.ok()
        })
        .await
        .ok()
        .flatten()
    }
}

fn drain_all(store: &Store) -> DrainErrors {
    let failed = |db: &Arc<store::Database>| Some((db.name().clone(), db.drain().err()?.chain()));
    store.databases().iter().filter_map(failed).collect()
}
