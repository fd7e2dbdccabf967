//! Streams as they are between nodes that keep the protocol.

use bytes::{BufMut, Bytes};
use prost::Message;

use super::introduction;
use crate::proto::{
    self, PrimaryMessage, ReplicaMessage, primary_message as to, replica_message as from,
};

/// Of primaries, for [`from_primary`](super::from_primary).
pub(super) fn of_primaries() -> Vec<Vec<u8>> {
    let stream = |messages: Vec<to::Message>| {
        let hello = to::Message::Hello(introduction(1).to_hello());
        let mut bytes = Vec::new();
        for message in [hello].into_iter().chain(messages) {
            let message = PrimaryMessage {
                message: Some(message),
            };
            message
                .encode_length_delimited(&mut bytes)
                .expect("a vector grows");
        }
        bytes
    };
    let dropped = proto::Drop {
        database: "a.db".to_owned(),
        round: 1,
    };
    let refusal = proto::Refusal {
        reason: proto::refusal::Reason::Superseded.into(),
        text: "another connection".to_owned(),
    };
    vec![
        stream(vec![
            chunk("a.db", 0, 1, 0, false, true),
            chunk("b.db", 0, 2, 0, true, true),
            chunk("a.db", 0, 1, 10, true, false),
            heartbeat(false),
            chunk("a.db", 0, 3, 0, false, true),
            to::Message::Abort(proto::Abort {
                database: "a.db".to_owned(),
                round: 0,
                transfer: 3,
            }),
            to::Message::Ready(proto::Ready {}),
        ]),
        stream(vec![
            chunk("a.db", 1, 5, 0, true, true),
            to::Message::Drop(dropped),
            heartbeat(true),
            heartbeat(false),
            to::Message::Refusal(refusal),
        ]),
        // What must be refused: a file within a file, a hole, a piece that came already.
        stream(vec![
            chunk("a.db", 0, 1, 0, false, true),
            chunk("a.db", 0, 3, 0, false, true),
        ]),
        stream(vec![
            chunk("a.db", 0, 1, 0, false, true),
            chunk("a.db", 0, 1, 20, true, false),
        ]),
        stream(vec![
            chunk("a.db", 0, 1, 0, false, true),
            chunk("a.db", 0, 1, 0, false, false),
        ]),
    ]
}

/// Of replicas, for [`from_replica`](super::from_replica).
pub(super) fn of_replicas() -> Vec<Vec<u8>> {
    let mut hello = introduction(2).to_hello();
    hello.databases = vec![state("a.db", 2), state("c.db", 9)];
    let mut paged = hello.clone();
    paged.more_databases = true;
    let page = proto::HelloDatabases {
        databases: vec![state("b.db", 1)],
        more_databases: false,
    };
    let mut filtered = introduction(2).to_hello();
    filtered.filter = vec!["b.db".to_owned()];
    let work = || {
        let mut bytes = Vec::new();
        for round in 0..4 {
            for (at, message) in [
                ask("a.db", round + 1),
                ask("b.db", round + 1),
                ack("a.db", round + 1, 0),
                ack("b.db", round + 1, 129),
                failure("a.db", round + 1),
                from::Message::HeartbeatEcho(proto::HeartbeatEcho { primary_ms: 1000 }),
            ]
            .into_iter()
            .enumerate()
            {
                bytes.put_u8((at as u8) * 3 + round as u8 * 16);
                put(&mut bytes, message);
            }
        }
        bytes
    };
    let stream = |hellos: Vec<from::Message>| {
        let mut bytes = Vec::new();
        hellos
            .into_iter()
            .for_each(|message| put(&mut bytes, message));
        bytes.extend(work());
        bytes
    };
    vec![
        stream(vec![from::Message::Hello(hello)]),
        stream(vec![
            from::Message::Hello(paged),
            from::Message::HelloDatabases(page),
        ]),
        stream(vec![from::Message::Hello(filtered)]),
    ]
}

fn put(bytes: &mut Vec<u8>, message: from::Message) {
    let message = ReplicaMessage {
        message: Some(message),
    };
    message
        .encode_length_delimited(bytes)
        .expect("a vector grows");
}

fn chunk(
    name: &str,
    round: u64,
    transfer: u64,
    offset: u64,
    last: bool,
    begins: bool,
) -> to::Message {
    let head = proto::TransferHead {
        incarnation: 1,
        min_txid: 1,
        max_txid: 3,
        size: if last { 10 } else { 20 },
        ..Default::default()
    };
    to::Message::Chunk(proto::Chunk {
        database: name.to_owned(),
        round,
        transfer,
        offset,
        last,
        head: begins.then_some(head),
        data: Bytes::from_static(b"0123456789"),
    })
}

fn heartbeat(more_databases: bool) -> to::Message {
    to::Message::Heartbeat(proto::Heartbeat {
        primary_ms: 1_700_000_000_000,
        databases: vec![state("a.db", 3), state("b.db", 4)],
        more_databases,
    })
}

fn state(name: &str, txid: u64) -> proto::DatabaseState {
    proto::DatabaseState {
        history: vec![proto::Chapter {
            epoch: 3,
            start: None,
        }],
        name: name.to_owned(),
        incarnation: 1,
        position: position(txid),
        busy: txid == 9,
    }
}

fn position(txid: u64) -> Option<proto::Position> {
    Some(proto::Position {
        txid,
        checksum: 1 << 63 | txid,
    })
}

fn ask(name: &str, round: u64) -> from::Message {
    from::Message::Ask(proto::Ask {
        history: Vec::new(),
        database: name.to_owned(),
        round,
        incarnation: 1,
        position: position(1),
    })
}

fn ack(name: &str, round: u64, consumed: u64) -> from::Message {
    from::Message::Ack(proto::Ack {
        database: name.to_owned(),
        round,
        consumed,
        received: position(2),
        durable: position(2),
        applied: position(3),
    })
}

fn failure(name: &str, round: u64) -> from::Message {
    from::Message::Failure(proto::Failure {
        database: name.to_owned(),
        round,
        kind: proto::failure::Kind::Conflict.into(),
        text: "out of space".to_owned(),
    })
}
