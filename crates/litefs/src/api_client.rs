//! A client of a node's API.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use ltx::Pos;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that is gone without a word is noticed by the kernel.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a change of the primary may take.
const LEADERSHIP_TIMEOUT: Duration = Duration::from_secs(45);
/// The most of an error's body that is shown, in bytes.
const MAX_REASON: usize = 4096;

/// Never used, but a client without a TLS configuration panics, or loads the system's roots.
fn no_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// The API of one node.
#[derive(Debug, Clone)]
pub(crate) struct ApiClient {
    client: Client,
    /// Without a slash at the end.
    base: String,
}

impl ApiClient {
    /// A client of the node at `base`, an URL without a slash at the end. Proxies of the environment are not
    /// used: nodes are on a private network.
    pub(crate) fn new(base: &str) -> anyhow::Result<ApiClient> {
        let client = Client::builder()
            .tls_backend_preconfigured(no_tls()?)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .build()?;
        Ok(ApiClient {
            client,
            base: base.to_owned(),
        })
    }

    /// The URL of the node.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Starts to send `length` bytes as the database `name`. The answer comes once it is imported; the request
    /// is refused if it is not.
    pub(crate) async fn import(
        &self,
        name: &str,
        length: u64,
        body: reqwest::Body,
    ) -> anyhow::Result<Response> {
        let request = self
            .client
            .post(format!("{}/import", self.base))
            .query(&[("name", name)]);
        let request = request
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(body);
        self.accepted(request.send().await).await
    }

    /// Starts to receive the database `name`.
    pub(crate) async fn export(&self, name: &str) -> anyhow::Result<Response> {
        let request = self
            .client
            .get(format!("{}/export", self.base))
            .query(&[("name", name)]);
        let answer = request.send().await;
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.status() == StatusCode::NOT_FOUND)
        {
            return Err(anyhow!("database not found: {name:?} at {}", self.base));
        }
        self.accepted(answer).await
    }

    /// Makes the node the primary; the answer comes when it is.
    pub(crate) async fn promote(&self, force: bool) -> anyhow::Result<()> {
        let request = self.client.post(format!("{}/promote", self.base));
        let request = request
            .query(&[("force", force)])
            .timeout(LEADERSHIP_TIMEOUT);
        self.accepted(request.send().await).await.map(drop)
    }

    /// Has the node hand over; the answer comes when it has.
    pub(crate) async fn handoff(&self, to: Option<u64>) -> anyhow::Result<()> {
        let mut request = self.client.post(format!("{}/handoff", self.base));
        if let Some(to) = to {
            request = request.query(&[("nodeID", format!("{to:016X}"))]);
        }
        let request = request.timeout(LEADERSHIP_TIMEOUT);
        self.accepted(request.send().await).await.map(drop)
    }

    /// What the node says of itself, as far as `T` wants to know it.
    pub(crate) async fn info<T: DeserializeOwned>(&self, deadline: Duration) -> anyhow::Result<T> {
        let answer = self
            .client
            .get(format!("{}/info", self.base))
            .timeout(deadline)
            .send()
            .await;
        Ok(self.accepted(answer).await?.json().await?)
    }

    /// The answer, unless it is a refusal.
    async fn accepted(&self, answer: reqwest::Result<Response>) -> anyhow::Result<Response> {
        let answer = answer
            .map_err(|error| anyhow!("no answer from {}: {}", self.base, root_cause(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let primary = header(&answer, "litefs-primary");
        let reason = reason(answer).await;
        let advice = primary
            .map(|primary| format!("; the primary is at {primary}"))
            .unwrap_or_default();
        Err(anyhow!(
            "{} refuses ({}): {reason}{advice}",
            self.base,
            status.as_u16()
        ))
    }
}

/// What the system or the peer did: the errors around it only say that there was a request.
pub(crate) fn root_cause(error: &reqwest::Error) -> &(dyn Error + 'static) {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// The first line of a refusal.
async fn reason(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_REASON {
            break;
        }
    }
    bytes.truncate(MAX_REASON);
    String::from_utf8_lossy(&bytes)
        .lines()
        .next()
        .unwrap_or("no reason given")
        .to_owned()
}

fn header(answer: &Response, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The position that an answer is about, if the node says it.
pub(crate) fn position(answer: &Response) -> Option<Pos> {
    header(answer, "litefs-pos")?.parse().ok()
}

/// What `/info` says, as far as `litefs dev` shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeInfo {
    /// `primary`, `replica` or `none`.
    pub(crate) role: String,
    /// Milliseconds behind the primary; `None` if it never was in sync.
    pub(crate) lag: Option<u64>,
    /// What the connection to the primary is doing, in words.
    pub(crate) stream: String,
    /// Whether the positions below include all that was committed before the request.
    #[serde(default)]
    pub(crate) drained: bool,
    pub(crate) databases: Vec<DatabaseInfo>,
}

/// One database in [`NodeInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatabaseInfo {
    pub(crate) name: String,
    /// 16 hexadecimal digits.
    pub(crate) txid: String,
    /// 16 hexadecimal digits.
    pub(crate) checksum: String,
    /// `wal`, `rollback` and so on.
    pub(crate) mode: String,
    /// Transactions captured there since its start.
    pub(crate) commits: u64,
    /// Transactions applied there since its start.
    pub(crate) applied: u64,
    /// For a replica: milliseconds from the commit on the primary to the apply here, of the last transaction.
    pub(crate) lag_ms: i64,
    /// Why it is not replicating.
    pub(crate) error: Option<String>,
}
