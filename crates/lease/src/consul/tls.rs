//! Whom this node trusts when it speaks TLS with Consul, and as whom it speaks.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::environment::ConsulEnvironment;
use crate::error::Error;

/// The system's roots and those of `CONSUL_CACERT`, and this node's certificate if it has one.
pub(super) fn client(environment: &ConsulEnvironment) -> Result<ClientConfig, Error> {
    let builder = builder()?.with_root_certificates(roots(environment.ca_file.as_deref())?);
    match (&environment.client_cert, &environment.client_key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            let cert = certificates(cert)?;
            builder.with_client_auth_cert(cert, key).map_err(wrong)
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(Error::Config(
            "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY are of use only together".to_owned(),
        )),
    }
}

/// Trusts nobody: for a client that speaks plain HTTP.
pub(super) fn nobody() -> Result<ClientConfig, Error> {
    let nobody = RootCertStore::empty();
    Ok(builder()?
        .with_root_certificates(nobody)
        .with_no_client_auth())
}

/// With a provider of its own: nothing depends on what the process has installed.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)
}

fn wrong(error: rustls::Error) -> Error {
    Error::Config(format!("TLS to consul: {error}"))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| unreadable(path, &error))?;
        }
    }
    if roots.is_empty() {
        return Err(Error::Config(
            "TLS to consul: this system has no root certificates, and CONSUL_CACERT names none"
                .to_owned(),
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(path, &error))?;
    if found.is_empty() {
        return Err(unreadable(path, &"there is no certificate in it"));
    }
    Ok(found)
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("TLS to consul: {}: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_named() {
        let environment = ConsulEnvironment {
            ca_file: Some("/nowhere/ca.pem".into()),
            ..ConsulEnvironment::default()
        };
        let error = client(&environment).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
