//! `GET /export?name=`: a database as SQLite would store it.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ltx::Pos;
use store::Database;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::download::{self, Download, Lost};
use crate::error::Error;
use crate::query::DatabaseParam;
use crate::router::{Api, POS, text_header};
use crate::transfer::STALL;

/// What is known of an export before its first byte.
struct Opened {
    pos: Pos,
    size: u64,
    body: Download,
}

type Open = oneshot::Sender<Result<Opened, store::Error>>;

pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    DatabaseParam(name): DatabaseParam,
) -> Result<Response, Error> {
    let db = api
        .store()
        .database(&name)
        .ok_or(store::Error::UnknownDatabase(name))?;
    let transfer = api.transfers.begin()?;
    let (open, opened) = oneshot::channel();
    // The snapshot is opened, read and dropped on one thread: its locks belong to it.
    spawn_blocking(move || {
        read(&db, open);
        drop(transfer);
    });
    let opened = opened.await.map_err(|_| Error::Interrupted)??;
    let mut headers = HeaderMap::from_iter(text_header(POS, &opened.pos.to_string()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(opened.size));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    Ok((headers, Body::from_stream(opened.body)).into_response())
}

fn read(db: &Database, open: Open) {
    let mut snapshot = match db.snapshot() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let _ = open.send(Err(error));
            return;
        }
    };
    let (pos, size) = (snapshot.pos(), snapshot.database_size());
    let (mut writer, body) = download::channel(size, STALL);
    if open.send(Ok(Opened { pos, size, body })).is_err() {
        return;
    }
    let written = snapshot.write_database(&mut writer);
    drop(snapshot);
    let outcome = match written {
        Ok(()) => writer.finish(),
        Err(error) => match writer.lost() {
            Some(lost) => Err(lost),
            None => {
                tracing::error!(db = %db.name(), %pos, error = error.chain(), "export broken off");
                writer.abort(io::Error::other(error));
                return;
            }
        },
    };
    match outcome {
        Ok(()) => tracing::info!(db = %db.name(), %pos, size, "exported"),
        Err(Lost::Gone) => tracing::debug!(db = %db.name(), %pos, "export: the client went away"),
        Err(Lost::Stalled) => {
            tracing::warn!(db = %db.name(), %pos, stall_s = STALL.as_secs(), "export: the client stalled");
        }
    }
}
