//! Between checked types and messages, and the limits that both sides keep.

use ltx::{Checksum, Pos, TxId};
use store::{Chapter, Database, DbName, Epoch, History, Incarnation};

use crate::error::Violation;
use crate::proto;

/// Most bytes of an LTX file in one message.
pub(crate) const CHUNK_MAX: usize = 256 * 1024;

/// Most bytes of one message, either way.
pub(crate) const MESSAGE_MAX: usize = 1024 * 1024;

/// Most databases in one message. With names of the greatest length that is well below [`MESSAGE_MAX`].
pub(crate) const PAGE_MAX: usize = 1000;

/// Most databases that one side may talk about in one stream.
pub(crate) const DATABASES_MAX: usize = 200_000;

/// Most credit of one database: bytes that may be in flight to the replica before it has consumed them.
pub(crate) const WINDOW_MAX: u64 = 4 * 1024 * 1024;

/// What a chunk costs of the credit beyond its data, so that many tiny ones are not free.
const CHUNK_COST: u64 = 128;

/// What a chunk with `bytes` of data costs of the credit.
pub(crate) fn cost(bytes: usize) -> u64 {
    bytes as u64 + CHUNK_COST
}

/// A database as the peer describes it, with everything checked that can be checked without knowing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerDatabase {
    pub(crate) name: DbName,
    pub(crate) incarnation: Incarnation,
    pub(crate) pos: Pos,
    pub(crate) busy: bool,
    pub(crate) history: History,
}

impl TryFrom<proto::DatabaseState> for PeerDatabase {
    type Error = Violation;

    fn try_from(state: proto::DatabaseState) -> Result<PeerDatabase, Violation> {
        Ok(PeerDatabase {
            name: DbName::new(&state.name)?,
            incarnation: Incarnation::new(state.incarnation),
            pos: position(state.position),
            busy: state.busy,
            history: history(&state.history),
        })
    }
}

/// A position; one that is missing or has TXID 0 is empty.
pub(crate) fn position(position: Option<proto::Position>) -> Pos {
    match position {
        Some(p) if p.txid != 0 => Pos::new(TxId::new(p.txid), Checksum::from_raw(p.checksum)),
        _ => Pos::EMPTY,
    }
}

/// The message for a position.
pub(crate) fn to_position(pos: Pos) -> Option<proto::Position> {
    match pos.txid.get() {
        0 => None,
        txid => Some(proto::Position {
            txid,
            checksum: pos.checksum.get(),
        }),
    }
}

/// A history, as far as it is in order.
pub(crate) fn history(chapters: &[proto::Chapter]) -> History {
    History::new(chapters.iter().map(|chapter| Chapter {
        epoch: Epoch::new(chapter.epoch),
        start: position(chapter.start),
    }))
}

/// The message for a history.
pub(crate) fn to_history(history: &History) -> Vec<proto::Chapter> {
    let chapters = history.chapters().iter();
    chapters
        .map(|chapter| proto::Chapter {
            epoch: chapter.epoch.get(),
            start: to_position(chapter.start),
        })
        .collect()
}

/// The message that describes one of our databases, without its history.
pub(crate) fn to_state(database: &Database, busy: bool) -> proto::DatabaseState {
    proto::DatabaseState {
        name: database.name().to_string(),
        // The incarnation first: if the database is replaced in between, the pair does not name a place that exists.
        incarnation: database.incarnation().get(),
        position: to_position(database.pos()),
        busy,
        history: Vec::new(),
    }
}

/// `text` without control characters, and at most `max` characters of it: for what a peer sends and a person reads.
pub(crate) fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_both_ways() {
        for pos in [
            Pos::EMPTY,
            Pos::new(TxId::new(7), Checksum::from_raw(1 << 63 | 5)),
        ] {
            assert_eq!(position(to_position(pos)), pos);
        }
        assert_eq!(
            position(Some(proto::Position {
                txid: 0,
                checksum: 99
            })),
            Pos::EMPTY
        );
    }

    #[test]
    fn a_page_of_the_longest_names_fits_a_message() {
        use prost::Message;
        let state = proto::DatabaseState {
            name: "x".repeat(255),
            incarnation: u64::MAX,
            position: Some(proto::Position {
                txid: u64::MAX,
                checksum: u64::MAX,
            }),
            busy: true,
            history: Vec::new(),
        };
        let hello = proto::HelloDatabases {
            databases: vec![state; PAGE_MAX],
            more_databases: true,
        };
        assert!(
            hello.encoded_len() < MESSAGE_MAX / 2,
            "{} bytes",
            hello.encoded_len()
        );
    }

    #[test]
    fn what_a_peer_wrote_cannot_forge_log_lines() {
        assert_eq!(printable("a\nERROR b\x1b[2J", 100), "aERROR b[2J");
        assert_eq!(printable("abcdef", 3), "abc");
    }
}
