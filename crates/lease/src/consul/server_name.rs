//! `CONSUL_TLS_SERVER_NAME`: a certificate for another name than that by which Consul is reached.
//!
//! The HTTP client asks for a certificate of the host in the URL. So the URL gets that name as its host, the addresses
//! are nevertheless those of the real host, and `Host` is the real one too.

use std::net::SocketAddr;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use rustls::pki_types::ServerName;

use crate::error::Error;

/// The URL with that name as its host. An IP address is none: nobody would be asked where it is.
pub(super) fn named(url: &Url, name: &str) -> Result<Url, Error> {
    let wrong = || Error::Config(format!("CONSUL_TLS_SERVER_NAME is no host name: {name:?}"));
    if !matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_))) {
        return Err(wrong());
    }
    let mut named = url.clone();
    named.set_host(Some(name)).map_err(|_| wrong())?;
    // There are more ways to write an IP address than one.
    named.domain().ok_or_else(wrong)?;
    Ok(named)
}

/// `Host` for a URL: without the port if it is the scheme's.
pub(super) fn host(url: &Url) -> Result<HeaderValue, Error> {
    let mut host = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        host += &format!(":{port}");
    }
    HeaderValue::from_str(&host)
        .map_err(|_| Error::Config(format!("lease.consul.url: no host is named {host:?}")))
}

/// Finds the addresses of one host, whatever name is asked for.
pub(super) struct AddressesOf(String);

impl AddressesOf {
    /// Those of a URL's host.
    pub(super) fn host_of(url: &Url) -> AddressesOf {
        let host = url.host_str().unwrap_or_default();
        AddressesOf(host.trim_matches(['[', ']']).to_owned())
    }
}

impl Resolve for AddressesOf {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // Port 0: the client puts in that of the URL.
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_replaces_the_host_alone() {
        let url = Url::parse("https://10.0.0.5:8501").unwrap();
        let named = named(&url, "Consul.example").unwrap();
        assert_eq!(named.as_str(), "https://consul.example:8501/");
    }

    #[test]
    fn a_name_is_none_that_is_an_address() {
        let url = Url::parse("https://consul").unwrap();
        for name in [
            "127.0.0.1",
            "::1",
            "[::1]",
            "0x7f.1",
            "1",
            "a:80",
            "a/b",
            "a b",
            "-",
        ] {
            let error = named(&url, name).unwrap_err().to_string();
            assert!(error.contains("CONSUL_TLS_SERVER_NAME"), "{name}: {error}");
        }
    }

    #[test]
    fn the_host_has_its_port_unless_it_is_the_usual() {
        for (url, expected) in [
            ("https://consul:8501", "consul:8501"),
            ("https://consul:443", "consul"),
            ("https://[::1]:8501", "[::1]:8501"),
        ] {
            assert_eq!(host(&Url::parse(url).unwrap()).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn the_addresses_are_those_of_the_host() {
        for (url, expected) in [
            ("https://127.0.0.2:1", "127.0.0.2:0"),
            ("https://[::1]:1", "[::1]:0"),
        ] {
            let host = AddressesOf::host_of(&Url::parse(url).unwrap());
            let found = host
                .resolve("consul.example".parse().unwrap())
                .await
                .unwrap();
            let expected: SocketAddr = expected.parse().unwrap();
            assert_eq!(found.collect::<Vec<_>>(), [expected], "{url}");
        }
    }
}
