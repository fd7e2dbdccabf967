//! What the API is told by the program around it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use store::Store;

use crate::control::Control;

/// What [`router`](crate::router) needs.
#[derive(Clone)]
pub struct ApiConfig {
    /// The databases, and the role of this node.
    pub store: Arc<Store>,
    /// Where applications find the databases: `path` of `/info`.
    pub mount_dir: PathBuf,
    /// The name of this node.
    pub hostname: String,
    /// Whether this node may become the primary.
    pub candidate: bool,
    /// The version of this program.
    pub version: String,
    /// The replicas that are connected to this node now. It is called on the runtime's threads: it must not block.
    pub replicas: Arc<dyn Fn() -> Vec<ReplicaSummary> + Send + Sync>,
    /// What the connection to the primary is doing, in words. It is called on the runtime's threads: it must
    /// not block.
    pub stream_state: Arc<dyn Fn() -> String + Send + Sync>,
    /// Requests that the kernel sent to the mount for applications, by kind, since the start. It is called on the runtime's
    /// threads: it must not block.
    pub fuse_requests: Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>,
    /// This node's part in the cluster. It is called on the runtime's threads: it must not block.
    pub lease: Arc<dyn Fn() -> LeaseSummary + Send + Sync>,
    /// Changes that part.
    pub control: Arc<dyn Control>,
}

/// A node's part in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseSummary {
    /// One or two words.
    pub state: &'static str,
    /// The term that it leads or follows.
    pub epoch: Option<u64>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it did not take over, or does not follow, when it last could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What is wrong with the lease store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A replica that is connected to this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSummary {
    /// Its node id.
    pub node_id: u64,
    /// Its host name.
    pub hostname: String,
    /// The address that it connected from, `ip:port`.
    pub address: String,
}
