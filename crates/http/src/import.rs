//! `POST /import?name=`: replaces a database by the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use ltx::Pos;
use store::{DbName, Role, Store};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::error::Error;
use crate::query::DatabaseParam;
use crate::router::{Api, POS, PRIMARY, text_header};
use crate::transfer::{QUEUED_PIECES, STALL};

/// How long, and for how many bytes, the rest of a refused body is still taken: a client that finds its
/// connection reset while it sends never reads the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// What the connection hands to the blocking thread. A body without an end is not imported.
enum Piece {
    Bytes(Bytes),
    End,
}

pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    name: Result<DatabaseParam, Error>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut sent = Sent {
        body: body.into_data_stream(),
        waits: headers.contains_key(header::EXPECT),
    };
    match receive(&api, name, &mut sent).await {
        Ok(pos) => HeaderMap::from_iter(text_header(POS, &pos.to_string())).into_response(),
        Err(error) => {
            sent.linger().await;
            refuse(&api, error)
        }
    }
}

/// LiteFS's answer, and on a node that is not the primary a header that says who is.
fn refuse(api: &Api, error: Error) -> Response {
    let for_the_primary = error.is_for_the_primary();
    let mut response = error.into_response();
    if for_the_primary
        && let Role::Replica {
            primary: Some(primary),
        } = api.store().role()
    {
        response
            .headers_mut()
            .extend(text_header(PRIMARY, &primary.advertise_url));
    }
    response
}

async fn receive(
    api: &Api,
    name: Result<DatabaseParam, Error>,
    sent: &mut Sent,
) -> Result<Pos, Error> {
    let DatabaseParam(name) = name?;
    let transfer = api.transfers.begin()?;
    let mut upload = Upload::begin(Arc::clone(api.store()), name, transfer);
    let mut wanted = upload.is_wanted().await;
    while wanted {
        let piece = sent.next().await?;
        let is_end = matches!(piece, Piece::End);
        wanted = upload.send(piece).await && !is_end;
    }
    upload.outcome().await
}

/// The body as it comes in.
struct Sent {
    body: BodyDataStream,
    /// The client waits for `100 Continue`: it sends nothing before the body is read.
    waits: bool,
}

impl Sent {
    async fn next(&mut self) -> Result<Piece, Error> {
        self.waits = false;
        match timeout(STALL, self.body.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Piece::Bytes(bytes)),
            Ok(Some(Err(error))) => Err(Error::Body(error)),
            Ok(None) => Ok(Piece::End),
            Err(_) => Err(Error::Stalled),
        }
    }

    /// Reads and forgets the rest.
    async fn linger(&mut self) {
        if self.waits {
            return;
        }
        let mut left = LINGER_BYTES;
        let rest = async {
            while let Some(Ok(bytes)) = self.body.next().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        // Nothing depends on how far it came.
        let _ = timeout(LINGER, rest).await;
    }
}

/// An import on a blocking thread. It ends without a change when this is dropped before [`Piece::End`].
struct Upload {
    begun: oneshot::Receiver<()>,
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Result<Pos, Error>>,
}

impl Upload {
    fn begin(store: Arc<Store>, name: DbName, transfer: OwnedSemaphorePermit) -> Upload {
        let (begin, begun) = oneshot::channel();
        let (pieces, received) = mpsc::channel(QUEUED_PIECES);
        let thread = spawn_blocking(move || {
            let outcome = write(&store, &name, begin, received);
            drop(transfer);
            outcome
        });
        Upload {
            begun,
            pieces,
            thread,
        }
    }

    /// Whether the store takes the import; else the outcome says why not.
    async fn is_wanted(&mut self) -> bool {
        (&mut self.begun).await.is_ok()
    }

    /// Whether the piece is taken; else the outcome says why not.
    async fn send(&self, piece: Piece) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    async fn outcome(self) -> Result<Pos, Error> {
        drop(self.pieces);
        self.thread.await.map_err(|_| Error::Interrupted)?
    }
}

fn write(
    store: &Arc<Store>,
    name: &DbName,
    begin: oneshot::Sender<()>,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Pos, Error> {
    let mut import = store.begin_import(name)?;
    // Nobody waits any more: the pieces have ended too.
    let _ = begin.send(());
    let mut size = 0;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                import.write(&bytes)?;
                size += bytes.len() as u64;
            }
            Piece::End => {
                let pos = import.commit()?;
                tracing::info!(db = %name, %pos, size, "imported");
                return Ok(pos);
            }
        }
    }
    tracing::info!(db = %name, size, "import broken off by the client, nothing changed");
    Err(Error::Interrupted)
}
