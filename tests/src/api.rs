//! The HTTP interface of a node.

use std::time::Duration;

use reqwest::blocking::{Client, Response};
use serde::Deserialize;

use crate::http::http_client;
use crate::metrics::Metrics;

/// A request takes no longer than this, large databases included.
const DEADLINE: Duration = Duration::from_secs(60);

/// What `GET /info` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Whether this node takes the writes.
    pub is_primary: bool,
    /// Who does.
    pub primary: Option<Primary>,
    /// One word: what this node is.
    #[serde(default)]
    pub role: Option<String>,
    /// Its part in the cluster.
    #[serde(default)]
    pub lease: Lease,
    /// How often this node put something aside that no other may have.
    #[serde(default)]
    pub unreplicated: Option<u64>,
    /// The databases of this node.
    #[serde(default)]
    pub databases: Vec<Database>,
}

/// A node's part in its cluster.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// One or two words.
    pub state: String,
    /// The term that it leads or follows.
    pub epoch: Option<u64>,
    /// What it waits for.
    pub detail: Option<String>,
    /// Why it did not take over, or does not follow, when it last could have.
    pub refusal: Option<String>,
    /// What is wrong with the lease store.
    pub trouble: Option<String>,
}

/// The primary, as a node knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Primary {
    /// Its host name.
    pub hostname: String,
}

/// One database in `GET /info`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Why it does not replicate at the moment, if it does not.
    #[serde(default)]
    pub error: Option<String>,
}

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// The body.
    pub text: String,
}

/// A client of one node.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    client: Client,
}

impl Api {
    /// A client of the node on `port` of this machine.
    pub fn new(port: u16) -> Api {
        Api {
            url: format!("http://127.0.0.1:{port}"),
            client: http_client(DEADLINE),
        }
    }

    /// The base URL, as `-url` of the command line takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `GET /info`; nothing while nobody answers.
    pub fn info(&self) -> Option<Info> {
        self.get("/info").ok()?.json().ok()
    }

    /// As [`Api::info`], with another time limit.
    pub fn info_within(&self, deadline: Duration) -> Option<Info> {
        let request = self.client.get(format!("{}/info", self.url));
        request.timeout(deadline).send().ok()?.json().ok()
    }

    /// The database `name` in `GET /info`.
    pub fn database(&self, name: &str) -> Option<Database> {
        self.info()?
            .databases
            .into_iter()
            .find(|database| database.name == name)
    }

    /// `GET /metrics`.
    ///
    /// # Panics
    /// If the node does not answer.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let text = self
            .get("/metrics")
            .and_then(Response::text)
            .expect("the node answers GET /metrics");
        Metrics::parse(&text)
    }

    /// Status code of `GET` on a path.
    pub fn status(&self, path: &str) -> Option<u16> {
        Some(self.get(path).ok()?.status().as_u16())
    }

    /// `GET /export`: the bytes of the database.
    pub fn export(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let request = self
            .client
            .get(format!("{}/export", self.url))
            .query(&[("name", name)]);
        let response = accepted(request.send())?;
        response.bytes().map(Into::into).map_err(unanswered)
    }

    /// `POST /import`: replaces the database by these bytes.
    pub fn import(&self, name: &str, bytes: Vec<u8>) -> Result<(), Refusal> {
        let request = self
            .client
            .post(format!("{}/import", self.url))
            .query(&[("name", name)])
            .body(bytes);
        accepted(request.send()).map(drop)
    }

    fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.client.get(format!("{}{path}", self.url)).send()
    }
}

fn accepted(answer: reqwest::Result<Response>) -> Result<Response, Refusal> {
    let response = answer.map_err(unanswered)?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Refusal {
        status: response.status().as_u16(),
        text: response.text().unwrap_or_default(),
    })
}

/// No answer, or half of one: status 0.
fn unanswered(error: reqwest::Error) -> Refusal {
    Refusal {
        status: 0,
        text: format!("{error:?}"),
    }
}
