//! Where the bytes of an LTX file on its way come from.

use bytes::Bytes;
use ltx::Pos;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::proto;
use crate::wire::CHUNK_MAX;

/// What a pump produces.
#[derive(Debug)]
pub(crate) enum Item {
    /// What the snapshot is, and the position that it gives.
    Head(proto::TransferHead, Pos),
    /// The next bytes, at most a chunk.
    Piece {
        /// Never empty.
        data: Bytes,
        /// Nothing follows.
        last: bool,
    },
}

/// Where the bytes of an LTX file on its way come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Recent and small: still in memory, shared by all replicas.
    Memory(Bytes),
    /// A thread that reads a file or takes a snapshot, a few chunks ahead at most.
    Pump(mpsc::Receiver<Result<Item, String>>),
}

/// What a source has at the moment.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// Something.
    Item(Item),
    /// Nothing yet; the pump will give a signal.
    Nothing,
    /// It failed, and why.
    Broken(String),
}

impl Source {
    /// Takes what there is; never waits.
    pub(crate) fn pull(&mut self) -> Pulled {
        match self {
            Source::Memory(bytes) if bytes.is_empty() => {
                Pulled::Broken("it has no bytes".to_owned())
            }
            Source::Memory(bytes) => {
                let data = bytes.split_to(bytes.len().min(CHUNK_MAX));
                Pulled::Item(Item::Piece {
                    data,
                    last: bytes.is_empty(),
                })
            }
            Source::Pump(receiver) => match receiver.try_recv() {
                Ok(Ok(item)) => Pulled::Item(item),
                Ok(Err(reason)) => Pulled::Broken(reason),
                Err(TryRecvError::Empty) => Pulled::Nothing,
                Err(TryRecvError::Disconnected) => {
                    Pulled::Broken("reading it stopped before its end".to_owned())
                }
            },
        }
    }

    /// Whether it takes one of the slots for reading from disk.
    pub(crate) fn takes_slot(&self) -> bool {
        matches!(self, Source::Pump(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_cut_into_chunks_and_the_last_is_marked() {
        let mut source = Source::Memory(Bytes::from(vec![7; CHUNK_MAX * 2 + 1]));
        let mut seen = Vec::new();
        while let Pulled::Item(Item::Piece { data, last }) = source.pull() {
            seen.push((data.len(), last));
        }
        assert_eq!(seen, [(CHUNK_MAX, false), (CHUNK_MAX, false), (1, true)]);
        assert!(matches!(source.pull(), Pulled::Broken(_)));
    }

    #[test]
    fn a_pump_that_ends_early_is_broken() {
        let (sender, receiver) = mpsc::channel(1);
        let mut source = Source::Pump(receiver);
        assert!(matches!(source.pull(), Pulled::Nothing));
        drop(sender);
        assert!(matches!(source.pull(), Pulled::Broken(_)));
    }
}
