//! `litefs import`: a SQLite file becomes a database of a running cluster.

mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::api_client::ApiClient;
use crate::cli::Transfer;
use crate::{say, signals};

use super::progress;
use source::Source;

/// Pieces that are read ahead of the network.
const READ_AHEAD: usize = 4;

/// Sends the file to the node. The file is checked before anything is sent.
pub(crate) async fn run(transfer: Transfer) -> anyhow::Result<()> {
    let start = Instant::now();
    let source = Source::open(&transfer.path)?;
    let api = ApiClient::new(&transfer.url)?;
    let sent = Arc::new(AtomicBool::new(false));
    tokio::select! {
        outcome = send(&api, &transfer.name, source, Arc::clone(&sent)) => outcome?,
        signal = signals::interrupt() => {
            signal?;
            match sent.load(Ordering::Acquire) {
                true => bail!("interrupted after everything was sent: the import may have been made"),
                false => bail!("interrupted: nothing was imported"),
            }
        }
    }
    let elapsed = start.elapsed();
    say(&format!(
        "Import of database {:?} in {elapsed:.1?}\n",
        transfer.name
    ));
    Ok(())
}

/// Sends all of `source`; `sent` is set once nothing is left to be read.
async fn send(
    api: &ApiClient,
    name: &str,
    source: Source,
    sent: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let size = source.size();
    let bar = progress::bytes(Some(size));
    let (pieces, received) = mpsc::channel(READ_AHEAD);
    let counted = bar.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let read = source.read(|piece| {
            counted.inc(piece.len() as u64);
            pieces.blocking_send(anyhow::Ok(piece)).is_ok()
        });
        match &read {
            Ok(()) => sent.store(true, Ordering::Release),
            // The body ends with an error instead of its last bytes, so that the node imports nothing.
            Err(_) => {
                drop(pieces.blocking_send(Err(anyhow::anyhow!("the file could not be read"))))
            }
        }
        read
    });
    let body = reqwest::Body::wrap_stream(ReceiverStream::new(received));
    let answer = api.import(name, size, body).await;
    bar.finish_and_clear();
    // Why the body ended early says more than that it did.
    reader.await.context("read the file")??;
    answer.map(drop)
}
