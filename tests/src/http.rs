//! Plain HTTP with what runs on this machine.

use std::time::Duration;

use reqwest::blocking::Client;

/// A client that gives up after `limit`. It asks no proxy, and trusts nobody: without a TLS configuration of its own
/// it would panic.
pub fn http_client(limit: Duration) -> Client {
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(limit)
        .no_proxy()
        .build()
        .expect("the HTTP client is set up")
}
