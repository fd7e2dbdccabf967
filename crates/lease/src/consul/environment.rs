//! What Consul's own tools take from the environment, and LiteFS with them.

use std::path::PathBuf;

/// The part of `CONSUL_*` that is honoured here.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConsulEnvironment {
    /// `CONSUL_HTTP_TOKEN`: the ACL token if there is none in the URL.
    pub token: Option<String>,
    /// `CONSUL_HTTP_TOKEN_FILE`: a file with the token, if neither the URL nor `CONSUL_HTTP_TOKEN` has one.
    pub token_file: Option<PathBuf>,
    /// `CONSUL_CACERT`: certificates that are trusted beside those of the system, in PEM.
    pub ca_file: Option<PathBuf>,
    /// `CONSUL_CLIENT_CERT`: this node's certificate, in PEM.
    pub client_cert: Option<PathBuf>,
    /// `CONSUL_CLIENT_KEY`: its key, in PEM.
    pub client_key: Option<PathBuf>,
    /// `CONSUL_TLS_SERVER_NAME`: the name in Consul's certificate, if it is not the host of the URL. No IP
    /// address.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for ConsulEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsulEnvironment")
            .field("ca_file", &self.ca_file)
            .field("client_cert", &self.client_cert)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl ConsulEnvironment {
    /// That of this process.
    pub fn of_process() -> ConsulEnvironment {
        ConsulEnvironment::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> ConsulEnvironment {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        ConsulEnvironment {
            token: variable("CONSUL_HTTP_TOKEN"),
            token_file: path("CONSUL_HTTP_TOKEN_FILE"),
            ca_file: path("CONSUL_CACERT"),
            client_cert: path("CONSUL_CLIENT_CERT"),
            client_key: path("CONSUL_CLIENT_KEY"),
            server_name: variable("CONSUL_TLS_SERVER_NAME"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let environment = ConsulEnvironment::read(|name| {
            Some(match name {
                "CONSUL_HTTP_TOKEN" => "t".to_owned(),
                "CONSUL_CACERT" => "/ca.pem".to_owned(),
                _ => String::new(),
            })
        });
        let expected = ConsulEnvironment {
            token: Some("t".to_owned()),
            ca_file: Some(PathBuf::from("/ca.pem")),
            ..ConsulEnvironment::default()
        };
        assert_eq!(environment, expected);
    }
}
