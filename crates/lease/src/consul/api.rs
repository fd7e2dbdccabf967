//! The few calls of Consul's API that a lease needs: sessions, keys, transactions, and the catalog.
//!
//! <https://developer.hashicorp.com/consul/api-docs>, versions 1.7 and later.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::transport::{Reply, Transport};
use crate::error::Error;

/// The greatest value that Consul takes (`kv_max_value_size`), and the greatest body of a transaction
/// (`txn_max_req_len`), unless they are configured to be greater.
pub(super) const MOST_VALUE: usize = 512 * 1024;

/// Operations in one transaction: 64 before Consul 1.12, 128 since.
pub(super) const MOST_OPS: usize = 64;

/// What need not be encoded in a path, beside letters and digits.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Consul's API.
pub(super) struct Api {
    transport: Transport,
    /// The key of the lease, to be named in errors.
    key: String,
    patience: Duration,
}

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    /// The counter of changes when it was last changed.
    pub(super) modify_index: u64,
    pub(super) session: Option<String>,
}

/// One operation of a transaction.
#[derive(Debug, Clone, Serialize, Default, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Op {
    verb: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl Op {
    fn new(verb: &'static str, key: &str) -> Op {
        Op {
            verb,
            key: key.to_owned(),
            ..Op::default()
        }
    }

    /// Bytes that it takes in the body, about.
    pub(super) fn len(&self) -> usize {
        const AROUND: usize = 160;
        let value = self.value.as_ref().map_or(0, String::len);
        // A key may be escaped.
        AROUND + value + 2 * self.key.len()
    }

    fn with_value(mut self, value: &[u8]) -> Op {
        self.value = Some(STANDARD.encode(value));
        self
    }

    fn with_session(mut self, session: &str) -> Op {
        self.session = Some(session.to_owned());
        self
    }

    fn with_index(mut self, index: u64) -> Op {
        self.index = Some(index);
        self
    }

    /// Writes.
    pub(super) fn set(key: &str, value: &[u8]) -> Op {
        Op::new("set", key).with_value(value)
    }

    /// Writes, if it is in that state (0: absent).
    pub(super) fn cas(key: &str, index: u64, value: &[u8]) -> Op {
        Op::new("cas", key).with_index(index).with_value(value)
    }

    /// Locks and writes, unless another session has locked it.
    pub(super) fn lock(key: &str, session: &str, value: &[u8]) -> Op {
        Op::new("lock", key).with_session(session).with_value(value)
    }

    /// Unlocks and writes, if that session has locked it.
    pub(super) fn unlock(key: &str, session: &str, value: &[u8]) -> Op {
        Op::new("unlock", key)
            .with_session(session)
            .with_value(value)
    }

    /// Deletes.
    pub(super) fn delete(key: &str) -> Op {
        Op::new("delete", key)
    }

    /// Deletes everything whose key begins so.
    pub(super) fn delete_tree(prefix: &str) -> Op {
        Op::new("delete-tree", prefix)
    }

    /// Deletes, if it is in that state.
    pub(super) fn delete_cas(key: &str, index: u64) -> Op {
        Op::new("delete-cas", key).with_index(index)
    }

    /// It is in that state.
    pub(super) fn check_index(key: &str, index: u64) -> Op {
        Op::new("check-index", key).with_index(index)
    }

    /// It is locked by that session.
    pub(super) fn check_session(key: &str, session: &str) -> Op {
        Op::new("check-session", key).with_session(session)
    }

    /// It is absent.
    pub(super) fn check_absent(key: &str) -> Op {
        Op::new("check-not-exists", key)
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Txn {
    /// It was made; keys and their counters, of the operations that wrote or checked something.
    Done(Vec<(String, u64)>),
    /// It was not: what Consul says of it.
    Refused(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireEntry {
    key: String,
    value: Option<String>,
    modify_index: u64,
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireTxn {
    #[serde(default)]
    results: Option<Vec<WireResult>>,
    #[serde(default)]
    errors: Option<Vec<WireError>>,
}

#[derive(Deserialize)]
struct WireResult {
    #[serde(rename = "KV")]
    kv: Option<WireEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireError {
    what: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireSession<'a> {
    name: &'a str,
    behavior: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: String,
    /// None: the session does not depend on the health of the agent's node.
    node_checks: [&'a str; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

#[derive(Deserialize)]
struct WireSessionId {
    #[serde(rename = "ID")]
    id: String,
}

impl Api {
    /// `key`: that of the lease. `patience`: of each call.
    pub(super) fn new(transport: Transport, key: String, patience: Duration) -> Api {
        Api {
            transport,
            key,
            patience,
        }
    }

    /// Where it is.
    pub(super) fn place(&self) -> &str {
        self.transport.place()
    }

    /// A key, and the index with which to wait for its next change; `block`: waits until it is beyond that index, or
    /// for about that long.
    pub(super) async fn get(
        &self,
        key: &str,
        block: Option<(u64, Duration)>,
    ) -> Result<(Option<Entry>, u64), Error> {
        let mut target = format!("{}?consistent", path(key));
        let mut patience = self.patience;
        if let Some((index, wait)) = block {
            target += &format!("&index={index}&wait={}ms", wait.as_millis());
            // Consul adds up to a sixteenth, so that not all watches end at once.
            patience += wait + wait / 16;
        }
        let (entries, index) = self.read(&target, patience).await?;
        Ok((entries.into_iter().next(), index))
    }

    /// Everything whose key begins so, as it was at one moment.
    pub(super) async fn tree(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        let target = format!("{}?consistent&recurse", path(prefix));
        Ok(self.read(&target, self.patience).await?.0)
    }

    async fn read(&self, target: &str, patience: Duration) -> Result<(Vec<Entry>, u64), Error> {
        let request = self
            .transport
            .request(Method::GET, target, vec![], patience);
        let reply = request.await?;
        let entries = match reply.status {
            StatusCode::NOT_FOUND => Vec::new(),
            StatusCode::OK => self.parse::<Vec<WireEntry>>(&reply)?,
            _ => return Err(self.refusal(&reply)),
        };
        let index = reply
            .index
            .ok_or_else(|| self.not_understood("an answer without X-Consul-Index"))?;
        let entries = entries.into_iter().map(|entry| self.entry(entry));
        // An index of 0 would not wait.
        Ok((entries.collect::<Result<_, _>>()?, index.max(1)))
    }

    fn entry(&self, wire: WireEntry) -> Result<Entry, Error> {
        let value = STANDARD
            .decode(wire.value.unwrap_or_default())
            .map_err(|_| self.not_understood("a value that is not base64"))?;
        Ok(Entry {
            key: wire.key,
            value,
            modify_index: wire.modify_index,
            session: wire.session.filter(|id| !id.is_empty()),
        })
    }

    /// Writes a key if it is in that state (0: absent). Returns whether it was.
    pub(super) async fn put_cas(&self, key: &str, index: u64, value: &[u8]) -> Result<bool, Error> {
        let target = format!("{}?cas={index}", path(key));
        let reply = self.put(&target, value.to_vec()).await?;
        self.parse(&reply)
    }

    /// All of it or nothing.
    pub(super) async fn txn(&self, ops: &[Op]) -> Result<Txn, Error> {
        let ops: Vec<_> = ops
            .iter()
            .map(|op| serde_json::json!({ "KV": op }))
            .collect();
        let body = self.body(&ops)?;
        let request = self
            .transport
            .request(Method::PUT, "/v1/txn", body, self.patience);
        let reply = request.await?;
        match reply.status {
            StatusCode::OK => {
                let wire: WireTxn = self.parse(&reply)?;
                let results = wire.results.into_iter().flatten();
                let kvs = results.filter_map(|result| result.kv);
                Ok(Txn::Done(kvs.map(|kv| (kv.key, kv.modify_index)).collect()))
            }
            StatusCode::CONFLICT => {
                let wire: WireTxn = self.parse(&reply)?;
                let errors = wire.errors.into_iter().flatten();
                let what: Vec<String> = errors.map(|error| error.what).collect();
                self.refused(&what)
            }
            _ => Err(self.refusal(&reply)),
        }
    }

    /// A transaction that the ACL does not allow has the status of one that came too late; only the text tells them
    /// apart, as in Consul's own client.
    fn refused(&self, what: &[String]) -> Result<Txn, Error> {
        let denied = |text: &&String| text.starts_with("Permission denied");
        match what.iter().find(denied) {
            Some(text) => Err(self.denied(text)),
            None => Ok(Txn::Refused(what.join("; "))),
        }
    }

    /// Puts a node into the catalog, so that sessions can be made in its name.
    pub(super) async fn register(&self, node: &str) -> Result<(), Error> {
        let body = self.body(&serde_json::json!({ "Node": node, "Address": "localhost" }))?;
        self.put("/v1/catalog/register", body).await.map(|_| ())
    }

    /// Makes a session whose locks are deleted with it.
    pub(super) async fn create_session(
        &self,
        name: &str,
        node: Option<&str>,
        ttl: Duration,
        lock_delay: Duration,
    ) -> Result<String, Error> {
        let body = self.body(&WireSession {
            name,
            behavior: "delete",
            ttl: format!("{}ms", ttl.as_millis()),
            lock_delay: format!("{}ms", lock_delay.as_millis()),
            node_checks: [],
            node,
        })?;
        let reply = self.put("/v1/session/create", body).await?;
        self.parse::<WireSessionId>(&reply).map(|made| made.id)
    }

    /// Whether it is still there.
    pub(super) async fn renew_session(&self, id: &str) -> Result<bool, Error> {
        let target = format!("/v1/session/renew/{id}");
        let request = self
            .transport
            .request(Method::PUT, &target, vec![], self.patience);
        let reply = request.await?;
        match reply.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(&reply)),
        }
    }

    /// Ends it; it need not be there.
    pub(super) async fn destroy_session(&self, id: &str) -> Result<(), Error> {
        let target = format!("/v1/session/destroy/{id}");
        self.put(&target, vec![]).await.map(|_| ())
    }

    async fn put(&self, target: &str, body: Vec<u8>) -> Result<Reply, Error> {
        let request = self
            .transport
            .request(Method::PUT, target, body, self.patience);
        let reply = request.await?;
        match reply.status {
            StatusCode::OK => Ok(reply),
            _ => Err(self.refusal(&reply)),
        }
    }

    fn body(&self, value: &impl Serialize) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(value).map_err(|error| self.not_understood(&error.to_string()))
    }

    fn parse<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, Error> {
        serde_json::from_slice(&reply.body).map_err(|error| self.not_understood(&error.to_string()))
    }

    fn not_understood(&self, what: &str) -> Error {
        Error::Answer(format!(
            "consul at {} answers what is not understood: {what}",
            self.place()
        ))
    }

    /// What another status than the expected one means. Consul answers 500 while it has no leader, and 429 and 503
    /// when it has too much to do: it may answer otherwise the next time.
    fn refusal(&self, reply: &Reply) -> Error {
        let text = String::from_utf8_lossy(&reply.body);
        let text: String = text.trim().chars().take(300).collect();
        let place = self.place();
        match reply.status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => self.denied(&text),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Error::Unreachable(format!("consul at {place} answers {status}: {text}"))
            }
            status => Error::Answer(format!("consul at {place} answers {status}: {text}")),
        }
    }

    fn denied(&self, text: &str) -> Error {
        Error::Answer(format!(
            "consul at {}: permission denied (403): check the ACL token of lease.consul.url: it needs write on the \
             key prefix {:?}, and session:write: {text}",
            self.place(),
            self.key,
        ))
    }
}

fn path(key: &str) -> String {
    format!("/v1/kv/{}", utf8_percent_encode(key, PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_what_consul_reads() {
        let text = |op: &Op| serde_json::to_string(op).unwrap();
        assert_eq!(
            text(&Op::cas("a/b", 7, b"x")),
            r#"{"Verb":"cas","Key":"a/b","Value":"eA==","Index":7}"#
        );
        assert_eq!(
            text(&Op::lock("k", "s", b"")),
            r#"{"Verb":"lock","Key":"k","Value":"","Session":"s"}"#
        );
        assert_eq!(path("a b/ü?"), "/v1/kv/a%20b/%C3%BC%3F");
        let op = Op::lock("k", "0123456789abcdef0123456789abcdef0123", &[7; 1000]);
        assert!(op.len() >= text(&op).len());
    }
}
