//! What the primary lost in a crash of its machine, and this node has.

use std::io::Read;

use ltx::Pos;
use store::{DbName, LtxFile, NextLtx, Store};

use super::link::Link;
use crate::error::Violation;
use crate::proto::{self, replica_message::Message};
use crate::wire::{CHUNK_MAX, position};

/// Answers a Pull. Reads files: not for an async thread.
pub(crate) fn answer(store: &Store, link: &Link, pull: &proto::Pull) -> Result<(), Violation> {
    let name = DbName::new(&pull.database)?;
    for file in tail(store, link, &name, position(pull.position)) {
        if let Err(error) = send(link, &name, &file) {
            tracing::warn!(database = %name, %error, "cannot send the primary what it lost");
            break;
        }
    }
    link.send(Message::Tail(proto::Tail {
        database: name.to_string(),
        end: true,
        ..Default::default()
    }));
    Ok(())
}

/// The files that lead from `pos` to where the database is; none if they do not.
fn tail(store: &Store, link: &Link, name: &DbName, mut pos: Pos) -> Vec<LtxFile> {
    let mut files = Vec::new();
    let Some(database) = store.database(name) else {
        return files;
    };
    loop {
        match database.next_after(pos) {
            NextLtx::File(file) if link.take_for_tail(file.size) => {
                pos = file.post_pos();
                files.push(file);
            }
            NextLtx::UpToDate => return files,
            NextLtx::File(_) | NextLtx::Snapshot(_) => return Vec::new(),
        }
    }
}

fn send(link: &Link, name: &DbName, file: &LtxFile) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.open()?.read_to_end(&mut bytes)?;
    let mut pieces = bytes.chunks(CHUNK_MAX).peekable();
    while let Some(piece) = pieces.next() {
        link.send(Message::Tail(proto::Tail {
            database: name.to_string(),
            data: piece.to_vec(),
            last: pieces.peek().is_none(),
            end: false,
        }));
    }
    Ok(())
}
