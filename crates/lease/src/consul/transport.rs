//! One HTTP request to Consul, with a deadline.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::environment::ConsulEnvironment;
use super::tls;
use super::url::ConsulUrl;
use crate::error::Error;

/// More than any answer of interest has: the positions of a hundred thousand databases are a third of it.
const MOST_BYTES: usize = 64 << 20;

/// An idle connection is given up before Consul or a proxy between gives it up.
const IDLE: Duration = Duration::from_secs(30);

/// A way to one Consul.
pub(super) struct Transport {
    base: String,
    token: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What Consul answered.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// `X-Consul-Index`, on reads.
    pub(super) index: Option<u64>,
    pub(super) body: Bytes,
}

impl Transport {
    /// Makes no connection yet. `patience`: for how long a connection may take to come about.
    pub(super) fn new(
        url: &ConsulUrl,
        environment: &ConsulEnvironment,
        patience: Duration,
    ) -> Result<Transport, Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(patience));
        let tls = if url.base.starts_with("https:") {
            tls::client(environment)?
        } else {
            // Never used: no roots need be had.
            no_tls()?
        };
        let mut builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        if let Some(name) = &environment.server_name {
            let name = name.clone().try_into().map_err(|_| {
                Error::Config(format!("CONSUL_TLS_SERVER_NAME is no host name: {name:?}"))
            })?;
            builder =
                builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(builder.enable_http1().wrap_connector(http));
        Ok(Transport {
            base: url.base.clone(),
            token: token(url, environment)?,
            client,
        })
    }

    /// Where it is, for people: no token.
    pub(super) fn place(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the whole answer, within `patience`. `target`: path and query, encoded.
    pub(super) async fn request(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base));
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token.clone());
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.unreachable(&error))?;
        tokio::time::timeout(patience, self.exchange(request))
            .await
            .unwrap_or_else(|_| {
                let waited = format!("no answer within {} ms", patience.as_millis());
                Err(self.unreachable(&waited))
            })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| self.unreachable(&Chain(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES)
            .collect()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let index = head.headers.get("X-Consul-Index");
        Ok(Reply {
            status: head.status,
            index: index.and_then(|index| index.to_str().ok()?.parse().ok()),
            body: body.to_bytes(),
        })
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Unreachable(format!("consul at {}: {reason}", self.base))
    }
}

/// The innermost reason: the outer ones say "client error (Connect)".
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut innermost = self.0;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        write!(f, "{innermost}")
    }
}

fn no_tls() -> Result<rustls::ClientConfig, Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("TLS to consul: {error}")))?;
    let nobody = rustls::RootCertStore::empty();
    Ok(builder.with_root_certificates(nobody).with_no_client_auth())
}

/// The token of the URL, else that of the environment.
fn token(url: &ConsulUrl, environment: &ConsulEnvironment) -> Result<Option<HeaderValue>, Error> {
    let of_environment = url.token.clone().or_else(|| environment.token.clone());
    let token = match (of_environment, &environment.token_file) {
        (Some(token), _) => Some(token),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path).map_err(|error| {
                Error::Config(format!(
                    "CONSUL_HTTP_TOKEN_FILE {}: {error}",
                    path.display()
                ))
            })?;
            Some(read.trim().to_owned())
        }
        (None, None) => None,
    };
    token
        .filter(|token| !token.is_empty())
        .map(|token| {
            let mut value = HeaderValue::from_str(&token).map_err(|_| {
                Error::Config("the ACL token has a character that no header may have".to_owned())
            })?;
            value.set_sensitive(true);
            Ok(value)
        })
        .transpose()
}
