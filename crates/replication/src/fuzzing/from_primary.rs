//! A primary that sends anything, to a replica.

use std::collections::HashMap;

use bytes::Bytes;
use ltx::{Checksum, Pos, TxId};
use store::{DbName, Incarnation};

use super::{introduction, next};
use crate::Refusal;
use crate::error::Violation;
use crate::proto::{PrimaryMessage, primary_message::Message};
use crate::replica::{Clock, Heartbeats, Inbound, Piece, as_hello};
use crate::wire::{CHUNK_MAX, position};

/// Must not panic, whatever the bytes are.
pub fn from_primary(bytes: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let Some(first) = next::<PrimaryMessage>(&mut bytes) else {
        return;
    };
    if let Ok(hello) = as_hello(first) {
        let _ = introduction(2).check_primary(&hello);
    }
    let mut replica = Replica::default();
    while let Some(message) = next::<PrimaryMessage>(&mut bytes) {
        // A violation ends the stream.
        if message.message.is_none_or(|m| replica.handle(m).is_err()) {
            return;
        }
    }
}

/// A file as far as it has come.
struct File {
    round: u64,
    incarnation: Incarnation,
    bytes: u64,
}

#[derive(Default)]
struct Replica {
    inbound: Inbound,
    heartbeats: Heartbeats,
    clock: Clock,
    /// Files of which the end is not there yet.
    arriving: HashMap<DbName, File>,
    applied: HashMap<DbName, (Incarnation, Pos)>,
}

impl Replica {
    fn handle(&mut self, message: Message) -> Result<(), Violation> {
        match message {
            Message::Chunk(chunk) => {
                let txid = chunk.head.as_ref().map_or(0, |head| head.max_txid);
                let offset = chunk.offset;
                let (name, round, piece) = self.inbound.chunk(chunk)?;
                self.collect(name, round, &piece, (offset, txid));
            }
            Message::Abort(abort) => {
                let (name, round) = self.inbound.abort(&abort)?;
                let aborted = self.arriving.remove(&name).map(|file| file.round);
                assert_eq!(aborted, Some(round), "only what is on its way is aborted");
            }
            Message::Drop(drop) => {
                let (name, round) = self.inbound.drop(&drop)?;
                assert_ne!(self.arriving.get(&name).map(|file| file.round), Some(round));
                let _ = self.clock.dropped(&name);
            }
            Message::Heartbeat(heartbeat) => {
                let page = self.heartbeats.page(heartbeat)?;
                let ours = |name: &DbName| self.applied.get(name).copied();
                let _ = self
                    .clock
                    .page(page.primary_ms, page.databases, page.last, ours);
            }
            Message::Refusal(refusal) => drop(Refusal::from(refusal).to_string()),
            Message::Pull(pull) => {
                let _ = (DbName::new(&pull.database)?, position(pull.position));
            }
            Message::Ready(_) => {}
            Message::Hello(_) => return Err(Violation::Unexpected("hello")),
        }
        Ok(())
    }

    /// What a lane relies on.
    fn collect(&mut self, name: DbName, round: u64, piece: &Piece, (offset, txid): (u64, u64)) {
        assert!(!piece.data.is_empty() && piece.data.len() <= CHUNK_MAX);
        let before = self
            .arriving
            .remove(&name)
            .filter(|file| file.round == round);
        assert_ne!(
            before.is_some(),
            piece.begins.is_some(),
            "a piece begins a file or goes on with one"
        );
        let begun = piece.begins.as_ref().map(|begins| File {
            round,
            incarnation: begins.incarnation,
            bytes: 0,
        });
        let Some(mut file) = before.or(begun) else {
            return;
        };
        assert_eq!(file.bytes, offset, "no hole and nothing twice");
        file.bytes += piece.data.len() as u64;
        if piece.last {
            let pos = Pos::new(TxId::new(txid), Checksum::EMPTY);
            let _ = self.clock.applied(&name, file.incarnation, pos);
            self.applied.insert(name, (file.incarnation, pos));
        } else {
            self.arriving.insert(name, file);
        }
    }
}
