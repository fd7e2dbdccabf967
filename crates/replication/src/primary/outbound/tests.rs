use std::collections::BTreeMap;

use ltx::Checksum;

use super::*;
use crate::wire::cost;

const A: &str = "a.db";
const B: &str = "b.db";

fn name(text: &str) -> DbName {
    DbName::new(text).unwrap()
}

fn pos(txid: u64) -> Pos {
    match txid {
        0 => Pos::EMPTY,
        _ => Pos::new(TxId::new(txid), Checksum::from_raw(1 << 63 | txid)),
    }
}

fn life(number: u64) -> Incarnation {
    Incarnation::new(number)
}

fn known(db: &str, txid: u64, busy: bool) -> PeerDatabase {
    PeerDatabase {
        history: Default::default(),
        name: name(db),
        incarnation: life(1),
        pos: pos(txid),
        busy,
    }
}

fn one_byte() -> Bytes {
    Bytes::from_static(b"x")
}

/// A chunk's worth of the file on its way.
fn full() -> Bytes {
    Bytes::from(vec![0; CHUNK_MAX])
}

fn as_chunk(message: Option<proto::PrimaryMessage>) -> proto::Chunk {
    match message.expect("a message").message {
        Some(Message::Chunk(chunk)) => chunk,
        other => panic!("expected a chunk, got {other:?}"),
    }
}

/// Answers turns for a primary whose databases have single-piece files up to a TXID. The chunks, by database.
fn serve(outbound: &mut Outbound, at: &BTreeMap<&str, u64>) -> Vec<(String, u64, u64)> {
    let mut sent = Vec::new();
    while let Some(turn) = outbound.next() {
        match turn {
            Turn::Look(db) => {
                let place = outbound.place(&db, life(1)).txid.get();
                if place == at[db.as_str()] {
                    outbound.up_to_date(&db);
                } else {
                    let head = proto::TransferHead {
                        max_txid: place + 1,
                        ..Default::default()
                    };
                    outbound.begin(&db, head, pos(place + 1));
                }
            }
            Turn::Pull(db) => {
                let chunk = as_chunk(outbound.chunk(&db, one_byte(), true));
                sent.push((
                    chunk.database,
                    chunk.round,
                    chunk.head.map_or(0, |head| head.max_txid),
                ));
            }
        }
        assert!(sent.len() < 100_000, "it does not come to an end");
    }
    sent
}

fn txids(sent: &[(String, u64, u64)], db: &str) -> Vec<u64> {
    sent.iter()
        .filter(|(name, ..)| name == db)
        .map(|(_, _, txid)| *txid)
        .collect()
}

#[test]
fn what_a_replica_lacks_is_sent_in_turns_and_nothing_else() {
    let mut outbound = Outbound::default();
    outbound.join(&known(A, 2, false));
    outbound.join(&known(B, 5, false));
    outbound.changed(&name(A), life(1));
    outbound.changed(&name(B), life(1));
    let sent = serve(&mut outbound, &BTreeMap::from([(A, 5), (B, 7)]));
    assert_eq!(txids(&sent, A), [3, 4, 5]);
    assert_eq!(txids(&sent, B), [6, 7]);
    assert_ne!(sent[0].0, sent[1].0, "databases take turns");
    assert_eq!(serve(&mut outbound, &BTreeMap::new()), []);
}

#[test]
fn another_incarnation_starts_from_nothing() {
    let mut outbound = Outbound::default();
    outbound.join(&known(A, 9, false));
    outbound.changed(&name(A), life(2));
    assert_eq!(outbound.next(), Some(Turn::Look(name(A))));
    assert_eq!(outbound.place(&name(A), life(2)), Pos::EMPTY);
}

#[test]
fn bytes_in_flight_are_bounded_and_come_back_with_acknowledgements() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    assert_eq!(outbound.next(), Some(Turn::Look(name(A))));
    outbound.begin(&name(A), proto::TransferHead::default(), pos(1));
    let mut offset = 0;
    let mut pull = |outbound: &mut Outbound| {
        let mut pieces = 0;
        while let Some(turn) = outbound.next() {
            assert_eq!(turn, Turn::Pull(name(A)));
            let chunk = as_chunk(outbound.chunk(&name(A), full(), false));
            assert_eq!((chunk.offset, chunk.head.is_some()), (offset, offset == 0));
            offset += CHUNK_MAX as u64;
            pieces += 1;
            assert!(pieces < 1000, "there is no bound");
        }
        pieces
    };
    let window = WINDOW_MAX.div_ceil(cost(CHUNK_MAX));
    assert_eq!(pull(&mut outbound), window);
    outbound
        .acked(&name(A), 0, cost(CHUNK_MAX) * 3, None)
        .unwrap();
    assert_eq!(pull(&mut outbound), 3);
    assert_eq!(pull(&mut outbound), 0);
    // More than was sent is a lie.
    let lie = cost(CHUNK_MAX) * (window + 4);
    assert!(matches!(
        outbound.acked(&name(A), 0, lie, None),
        Err(Violation::Acknowledged { .. })
    ));
    assert!(
        outbound.acked(&name(A), 1, 0, None).is_err(),
        "a round that was not asked for"
    );
    assert!(
        outbound.acked(&name(B), 0, 0, None).is_err(),
        "a database that was never sent"
    );
}

#[test]
fn a_database_without_credit_delays_no_other() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    outbound.next();
    outbound.begin(&name(A), proto::TransferHead::default(), pos(1));
    let mut pieces = 0;
    while outbound.next().is_some() {
        outbound.chunk(&name(A), full(), false).unwrap();
        pieces += 1;
        assert!(pieces < 1000, "there is no bound");
    }
    outbound.changed(&name(B), life(1));
    assert_eq!(
        txids(&serve(&mut outbound, &BTreeMap::from([(B, 3)])), B),
        [1, 2, 3]
    );
}

#[test]
fn a_large_file_and_small_ones_are_interleaved() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    outbound.next();
    outbound.begin(&name(A), proto::TransferHead::default(), pos(1));
    outbound.changed(&name(B), life(1));
    let turns: Vec<_> = (0..6)
        .map(|_| {
            let turn = outbound.next().unwrap();
            match &turn {
                Turn::Look(db) => outbound.begin(db, proto::TransferHead::default(), pos(1)),
                Turn::Pull(db) if *db == name(A) => drop(outbound.chunk(db, full(), false)),
                Turn::Pull(db) => drop(outbound.chunk(db, one_byte(), true)),
            }
            turn
        })
        .collect();
    let of_b = turns
        .iter()
        .filter(|turn| matches!(turn, Turn::Pull(db) | Turn::Look(db) if *db == name(B)));
    assert_eq!(of_b.count(), 3, "{turns:?}");
}

#[test]
fn many_stuck_databases_get_less_credit_each() {
    let mut outbound = Outbound::default();
    let names: Vec<_> = (0..200)
        .map(|number| name(&format!("{number}.db")))
        .collect();
    for db in &names {
        outbound.changed(db, life(1));
    }
    let mut bytes = 0;
    let all_full = WINDOW_MAX * names.len() as u64;
    while let Some(turn) = outbound.next() {
        assert!(bytes < all_full, "there is no bound");
        match turn {
            Turn::Look(db) => outbound.begin(&db, proto::TransferHead::default(), pos(1)),
            Turn::Pull(db) => {
                bytes += as_chunk(outbound.chunk(&db, full(), false)).data.len() as u64
            }
        }
    }
    assert!(
        bytes < all_full / 4,
        "{bytes} of {all_full} bytes are in flight"
    );
    assert!(
        bytes >= CHUNK_MAX as u64 * 200,
        "each has its share: {bytes}"
    );
}

#[test]
fn a_failed_round_is_over_and_the_next_one_starts_where_the_replica_is() {
    let mut outbound = Outbound::default();
    let at = BTreeMap::from([(A, 6)]);
    outbound.changed(&name(A), life(1));
    assert_eq!(txids(&serve(&mut outbound, &at), A), [1, 2, 3, 4, 5, 6]);
    assert!(outbound.failed(&name(A), 0, true).unwrap());
    // Held until it asks, whatever happens.
    outbound.changed(&name(A), life(1));
    assert_eq!(outbound.next(), None);
    assert!(outbound.gone(&name(A)).is_empty());
    assert!(outbound.asked(&name(A), 1, life(1), pos(4)).unwrap());
    let sent = serve(&mut outbound, &at);
    assert_eq!(sent, [(A.to_owned(), 1, 5), (A.to_owned(), 1, 6)]);
    // What comes late from the earlier round changes nothing.
    assert!(!outbound.acked(&name(A), 0, u64::MAX, Some(pos(2))).unwrap());
    assert!(!outbound.failed(&name(A), 0, true).unwrap());
    assert!(!outbound.asked(&name(A), 1, life(1), pos(0)).unwrap());
    assert_eq!(serve(&mut outbound, &at), []);
    // The credit of the failed round was given back with it.
    assert!(
        outbound
            .acked(&name(A), 1, cost(1) * 2, Some(pos(6)))
            .unwrap()
    );
    assert_eq!(outbound.active, 0);
}

#[test]
fn what_is_gone_is_dropped_once_and_may_come_again() {
    let mut outbound = Outbound::default();
    outbound.join(&known(A, 3, false));
    let messages = outbound.gone(&name(A));
    assert!(
        matches!(
            messages[..],
            [proto::PrimaryMessage {
                message: Some(Message::Drop(_))
            }]
        ),
        "{messages:?}"
    );
    assert!(outbound.gone(&name(A)).is_empty());
    assert!(
        outbound.gone(&name(B)).is_empty(),
        "the replica never had it"
    );
    outbound.changed(&name(A), life(1));
    assert_eq!(
        txids(&serve(&mut outbound, &BTreeMap::from([(A, 1)])), A),
        [1]
    );
    // In the middle of a transfer that is given up first.
    outbound.changed(&name(A), life(1));
    outbound.next();
    outbound.begin(&name(A), proto::TransferHead::default(), pos(2));
    outbound.chunk(&name(A), one_byte(), false).unwrap();
    let messages: Vec<_> = outbound
        .gone(&name(A))
        .into_iter()
        .filter_map(|m| m.message)
        .collect();
    assert!(
        matches!(messages[..], [Message::Abort(_), Message::Drop(_)]),
        "{messages:?}"
    );
    assert_eq!(outbound.next(), None);
}

#[test]
fn a_database_replaced_in_the_middle_of_a_transfer_begins_anew() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    outbound.next();
    outbound.begin(&name(A), proto::TransferHead::default(), pos(2));
    outbound.chunk(&name(A), one_byte(), false).unwrap();
    assert_eq!(outbound.changed(&name(A), life(1)), (false, None));
    let (given_up, abort) = outbound.changed(&name(A), life(2));
    assert!(given_up && matches!(abort.unwrap().message, Some(Message::Abort(_))));
    assert_eq!(outbound.next(), Some(Turn::Look(name(A))));
    assert_eq!(outbound.place(&name(A), life(2)), Pos::EMPTY);
}

#[test]
fn a_source_that_fails_waits_for_its_time() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    outbound.next();
    outbound.opening(&name(A));
    assert_eq!(
        outbound.broken(&name(A)),
        (1, None),
        "nothing was sent: nothing to abort"
    );
    outbound.changed(&name(A), life(1));
    outbound.resume(&name(A));
    assert_eq!(outbound.next(), None);
    outbound.retry(&name(A));
    assert_eq!(outbound.next(), Some(Turn::Look(name(A))));
    outbound.begin(&name(A), proto::TransferHead::default(), pos(1));
    outbound.chunk(&name(A), one_byte(), false).unwrap();
    let (failures, abort) = outbound.broken(&name(A));
    assert!(failures == 2 && abort.is_some());
}

#[test]
fn those_who_wait_for_a_slot_get_it_in_order() {
    let mut outbound = Outbound::default();
    for db in [A, B] {
        outbound.changed(&name(db), life(1));
        assert_eq!(outbound.next(), Some(Turn::Look(name(db))));
        outbound.await_slot(&name(db));
    }
    assert_eq!(outbound.next(), None);
    outbound.slot_freed();
    assert_eq!(outbound.next(), Some(Turn::Look(name(A))));
    outbound.up_to_date(&name(A));
    outbound.gone(&name(B));
    outbound.slot_freed();
    assert_eq!(outbound.next(), None, "it no longer waits");
}

#[test]
fn ready_comes_once_when_all_that_was_there_at_first_is_applied() {
    let mut outbound = Outbound::default();
    for (db, txid) in [(A, 2), (B, 5)] {
        outbound.join(&known(db, 1, false));
        outbound.changed(&name(db), life(1));
        outbound.await_catch_up(&name(db), TxId::new(txid));
    }
    // One is level, without anything being sent. The other was sent more than the target, and has applied less.
    let sent = serve(&mut outbound, &BTreeMap::from([(A, 1), (B, 6)]));
    assert!(!outbound.take_ready());
    outbound
        .acked(&name(B), 0, cost(1) * 3, Some(pos(4)))
        .unwrap();
    assert!(!outbound.take_ready());
    outbound
        .acked(&name(B), 0, cost(1) * 4, Some(pos(5)))
        .unwrap();
    assert!(outbound.take_ready());
    assert!(!outbound.take_ready());
    assert_eq!(sent.len(), 5);
}

#[test]
fn what_is_stuck_does_not_hold_ready_up_but_a_position_in_dispute_does() {
    for (soon, ready) in [(true, false), (false, true)] {
        let mut outbound = Outbound::default();
        outbound.changed(&name(A), life(1));
        outbound.await_catch_up(&name(A), TxId::new(1));
        serve(&mut outbound, &BTreeMap::from([(A, 1)]));
        outbound.failed(&name(A), 0, soon).unwrap();
        assert_eq!(outbound.take_ready(), ready);
    }
}

#[test]
fn a_busy_database_is_left_alone_until_it_asks() {
    let mut outbound = Outbound::default();
    outbound.join(&known(A, 3, true));
    outbound.changed(&name(A), life(1));
    assert_eq!(outbound.next(), None);
    outbound.asked(&name(A), 1, life(1), pos(3)).unwrap();
    assert_eq!(
        serve(&mut outbound, &BTreeMap::from([(A, 4)])),
        [(A.to_owned(), 1, 4)]
    );
}

#[test]
fn requests_for_unknown_databases_are_bounded() {
    let mut outbound = Outbound::default();
    for number in 0..DATABASES_MAX {
        outbound
            .asked(&name(&number.to_string()), 1, life(0), Pos::EMPTY)
            .unwrap();
    }
    assert!(matches!(
        outbound.asked(&name("one-more"), 1, life(0), Pos::EMPTY),
        Err(Violation::TooMany { .. })
    ));
}

#[test]
fn who_asks_for_everything_again_is_told_from_who_is_new() {
    let mut outbound = Outbound::default();
    outbound.changed(&name(A), life(1));
    assert!(!outbound.asked_for_all(&name(A)), "new");
    assert!(outbound.failed(&name(A), 0, true).unwrap());
    assert!(outbound.asked(&name(A), 1, life(1), pos(2)).unwrap());
    assert!(!outbound.asked_for_all(&name(A)), "from a position");
    assert!(outbound.asked(&name(A), 2, life(1), Pos::EMPTY).unwrap());
    assert!(outbound.asked_for_all(&name(A)));
}
