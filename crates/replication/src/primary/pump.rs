//! Threads that read LTX files or take snapshots, a few chunks ahead of the stream.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ltx::{Checksum, TxId};
use store::{Database, DbName, LtxFile};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::feed::Fork;
use super::signals::Signals;
use super::source::{Item, Source};
use crate::proto;
use crate::wire::CHUNK_MAX;

/// Chunks that a pump reads ahead.
const AHEAD: usize = 2;

/// A snapshot holds locks. If the replica takes nothing for so long, it is given up and taken anew later.
const STALLED: Duration = Duration::from_secs(30);

/// Reads a file that is not in memory.
pub(crate) fn file(db: &DbName, file: LtxFile, signals: &Arc<Signals>) -> Source {
    pump(db, signals, move |outlet| {
        let mut reader = file
            .open()
            .map_err(|error| format!("open its LTX file: {error}"))?;
        send_file(outlet, &mut reader, file.size)
    })
}

/// Takes a snapshot.
pub(crate) fn snapshot(
    database: Arc<Database>,
    fork: Fork,
    history: Vec<proto::Chapter>,
    signals: &Arc<Signals>,
) -> Source {
    let name = database.name().clone();
    pump(&name, signals, move |outlet| {
        let incarnation = database.incarnation();
        let mut snapshot = database.snapshot().map_err(|error| error.chain())?;
        let pos = snapshot.pos();
        let head = proto::TransferHead {
            incarnation: incarnation.get(),
            min_txid: TxId::new(1).get(),
            max_txid: pos.txid.get(),
            pre_apply_checksum: Checksum::NONE.get(),
            post_apply_checksum: pos.checksum.get(),
            size: 0,
            snapshot: true,
            replaces_history: fork != Fork::None,
            common_txid: match fork {
                Fork::After(common) => common.get(),
                Fork::None | Fork::Somewhere => 0,
            },
            history,
        };
        outlet.put(Item::Head(head, pos))?;
        let mut writer = ChunkWriter {
            outlet,
            buffer: BytesMut::new(),
        };
        snapshot
            .write_ltx(&mut writer)
            .map_err(|error| error.chain())?;
        // Released before the last piece is out, which may take a while.
        drop(snapshot);
        writer.finish()
    })
}

fn pump<F>(db: &DbName, signals: &Arc<Signals>, produce: F) -> Source
where
    F: FnOnce(&Outlet) -> Result<(), String> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let end = EndSignal {
        signals: Arc::clone(signals),
        db: db.clone(),
    };
    let outlet = Outlet {
        sender,
        end,
        runtime: Handle::current(),
    };
    tokio::task::spawn_blocking(move || {
        if let Err(reason) = produce(&outlet) {
            outlet.fail(reason);
        }
    });
    Source::Pump(receiver)
}

fn send_file(outlet: &Outlet, reader: &mut impl Read, size: u64) -> Result<(), String> {
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_MAX);
        let mut data = BytesMut::zeroed(length);
        reader
            .read_exact(&mut data)
            .map_err(|error| format!("read its LTX file: {error}"))?;
        left -= length as u64;
        outlet.put(Item::Piece {
            data: data.freeze(),
            last: left == 0,
        })?;
    }
    Ok(())
}

/// The pump's end of the channel to the session.
struct Outlet {
    // Dropped before the signal: the session must see the end of the channel when it looks.
    sender: mpsc::Sender<Result<Item, String>>,
    end: EndSignal,
    runtime: Handle,
}

impl Outlet {
    /// Hands over an item, and waits while the session has enough. An error if the session has gone or takes nothing.
    fn put(&self, item: Item) -> Result<(), String> {
        let sent = match self.sender.try_send(Ok(item)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err("the session has ended".to_owned()),
            Err(TrySendError::Full(item)) => {
                let send = tokio::time::timeout(STALLED, self.sender.send(item));
                match self.runtime.block_on(send) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err("the session has ended".to_owned()),
                    Err(_) => Err(format!("the replica took nothing for {STALLED:?}")),
                }
            }
        };
        self.end.signals.produced(&self.end.db);
        sent
    }

    /// Tells the session why there is no more. If there is no room for that it learns from the end of the channel.
    fn fail(&self, reason: String) {
        if let Err(TrySendError::Full(Err(reason))) = self.sender.try_send(Err(reason)) {
            tracing::warn!(database = %self.end.db, reason, "sending a database to a replica stopped");
        }
    }
}

/// Gives the signal when the pump ends, also by a panic.
struct EndSignal {
    signals: Arc<Signals>,
    db: DbName,
}

impl Drop for EndSignal {
    fn drop(&mut self) {
        self.signals.produced(&self.db);
    }
}

/// Cuts what is written into chunks. Keeps the last one back, so that it can be marked.
struct ChunkWriter<'a> {
    outlet: &'a Outlet,
    buffer: BytesMut,
}

impl ChunkWriter<'_> {
    fn finish(mut self) -> Result<(), String> {
        if self.buffer.is_empty() {
            return Err("the snapshot has no bytes".to_owned());
        }
        let data = self.take();
        self.outlet.put(Item::Piece { data, last: true })
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).freeze()
    }
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == CHUNK_MAX {
            let data = self.take();
            self.outlet
                .put(Item::Piece { data, last: false })
                .map_err(io::Error::other)?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(CHUNK_MAX);
        }
        let length = bytes.len().min(CHUNK_MAX - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Pieces go out when they are full: a flush must not make small ones.
        Ok(())
    }
}
