//! One HTTP request to Consul, with a deadline.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HOST, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::environment::ConsulEnvironment;
use super::url::ConsulUrl;
use super::{server_name, tls};
use crate::error::Error;

/// More than any answer of interest has: the positions of a hundred thousand databases are a third of it.
const MOST_BYTES: usize = 64 << 20;

/// An idle connection is given up before Consul or a proxy between gives it up.
const IDLE: Duration = Duration::from_secs(30);

/// A way to one Consul.
pub(super) struct Transport {
    base: String,
    /// The same, or with the name of Consul's certificate instead of the host.
    url: Url,
    /// `Host`, if it is not that of `url`.
    host: Option<HeaderValue>,
    token: Option<HeaderValue>,
    client: Client,
}

/// What Consul answered.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// `X-Consul-Index`, on reads.
    pub(super) index: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl Transport {
    /// Makes no connection yet. `patience`: for how long a connection may take to come about.
    pub(super) fn new(
        url: &ConsulUrl,
        environment: &ConsulEnvironment,
        patience: Duration,
    ) -> Result<Transport, Error> {
        let over_tls = url.url.scheme() == "https";
        let tls = if over_tls {
            tls::client(environment)?
        } else {
            // Never used, but without one the client would load the system's roots.
            tls::nobody()?
        };
        // A redirect would take the token to who knows whom.
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(patience)
            .pool_idle_timeout(IDLE);
        let mut transport_url = url.url.clone();
        let mut host = None;
        if let Some(name) = &environment.server_name {
            let named = server_name::named(&url.url, name)?;
            if over_tls {
                host = Some(server_name::host(&url.url)?);
                builder = builder.dns_resolver(server_name::AddressesOf::host_of(&url.url));
                transport_url = named;
            }
        }
        let client = builder
            .build()
            .map_err(|error| Error::Config(format!("HTTP to consul: {}", Chain(&error))))?;
        Ok(Transport {
            base: url.base.clone(),
            url: transport_url,
            host,
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
        tokio::time::timeout(patience, self.exchange(method, target, body))
            .await
            .unwrap_or_else(|_| {
                let waited = format!("no answer within {} ms", patience.as_millis());
                Err(self.unreachable(&waited))
            })
    }

    async fn exchange(&self, method: Method, target: &str, body: Vec<u8>) -> Result<Reply, Error> {
        let url = self.url.join(target);
        let url = url.map_err(|error| self.unreachable(&error))?;
        let mut request = self.client.request(method, url);
        if let Some(host) = &self.host {
            request = request.header(HOST, host.clone());
        }
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token.clone());
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.unreachable(&Chain(&error)))?;
        let index = answer.headers().get("X-Consul-Index");
        Ok(Reply {
            status: answer.status(),
            index: index.and_then(|index| index.to_str().ok()?.parse().ok()),
            body: self.body(answer).await?,
        })
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.unreachable(&Chain(&error)))?
        {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(self.unreachable(&"length limit exceeded"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Unreachable(format!("consul at {}: {reason}", self.base))
    }
}

/// The innermost reason: the outer ones say "error sending request" and the URL.
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

#[cfg(test)]
mod tests;
