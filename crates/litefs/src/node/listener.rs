//! The port of the API.

use std::os::fd::OwnedFd;

use anyhow::anyhow;
use tokio::net::TcpListener;

use crate::config::ListenAddr;

/// Listens on the first address that can be had. Nothing is accepted yet: clients wait.
pub(super) async fn bind(addr: &ListenAddr) -> anyhow::Result<TcpListener> {
    let mut refused = None;
    for candidate in addr.candidates() {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            // The first reason is the one to tell: later addresses are only tried because of it.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let reason = refused.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    Err(anyhow!("listen on {addr}: {reason}"))
}

/// Goes on with the socket of another process. Who has connected meanwhile is served.
pub(super) fn take_over(port: OwnedFd) -> anyhow::Result<TcpListener> {
    let listener = std::net::TcpListener::from(port);
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let error = bind(&format!("127.0.0.1:{port}").parse().unwrap())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!(
                "listen on 127.0.0.1:{port}: Address already in use"
            )),
            "{error}"
        );
        // An empty host takes both families where there are both.
        let all = bind(&":0".parse().unwrap()).await.unwrap();
        let port = all.local_addr().unwrap().port();
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
    }
}
