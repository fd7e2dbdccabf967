//! SIGTERM and SIGINT.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two signals that ask a process to end.
struct Requests {
    terminate: Signal,
    interrupt: Signal,
}

impl Requests {
    fn listen() -> anyhow::Result<Requests> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Requests {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for the first request to end.
pub(crate) async fn interrupt() -> anyhow::Result<()> {
    Requests::listen()?.next().await;
    Ok(())
}

/// A token that the first request cancels. The second one ends the process at once.
///
/// It must be called on a runtime; from then on no such signal ends the process by itself.
pub(crate) fn shutdown() -> anyhow::Result<CancellationToken> {
    let mut requests = Requests::listen()?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let first = requests.next().await;
        tracing::info!("{first} received, stopping");
        token.cancel();
        let second = requests.next().await;
        eprintln!("ERROR: {second} received while stopping, giving up at once");
        std::process::exit(1);
    });
    Ok(shutdown)
}
