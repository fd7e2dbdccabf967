//! What a replica follows and is no well-behaved primary.

mod support;

use bytes::Bytes;
use replication::FollowState;
use replication::proto::failure::Kind;
use replication::proto::primary_message::Message;
use replication::proto::refusal::Reason;
use replication::proto::replica_message::Message as FromReplica;
use replication::proto::{self, Chunk, DatabaseState, Hello, TransferHead};
use support::fake_primary::{Connected, FakePrimary, hello};
use support::image;
use support::node::{Following, Node};

/// A replica that has one database, from a primary that was decent.
async fn replica() -> Node {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(3, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    following.stop().await;
    replica
}

/// A replica that follows a fake primary, which it has accepted.
async fn accepted(replica: &Node, primary: &mut FakePrimary) -> (Following, Connected) {
    let following = replica.follow(&primary.url);
    let (connected, _) = primary.accept().await;
    connected.say(Message::Hello(hello()));
    following
        .until("connected", |state| *state == FollowState::Connected)
        .await;
    (following, connected)
}

fn chunk(database: &str) -> Chunk {
    Chunk {
        database: database.to_owned(),
        transfer: 1,
        last: true,
        head: Some(TransferHead {
            incarnation: 1,
            min_txid: 1,
            max_txid: 1,
            ..Default::default()
        }),
        data: Bytes::from_static(b"this is no LTX file"),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_protocol_ends_the_connection_and_has_no_effect() {
    let replica = replica().await;
    let before = (replica.pos("a.db"), replica.content("a.db"));
    let database = |name: &str| DatabaseState {
        name: name.to_owned(),
        ..Default::default()
    };
    let cases = [
        ("a path", vec![Message::Chunk(chunk("../x"))]),
        ("a reserved name", vec![Message::Chunk(chunk("a.db-wal"))]),
        (
            "no beginning",
            vec![Message::Chunk(Chunk {
                head: None,
                ..chunk("b.db")
            })],
        ),
        (
            "a hole",
            vec![
                Message::Chunk(Chunk {
                    last: false,
                    ..chunk("b.db")
                }),
                Message::Chunk(Chunk {
                    head: None,
                    offset: 1000,
                    ..chunk("b.db")
                }),
            ],
        ),
        (
            "empty",
            vec![Message::Chunk(Chunk {
                data: Bytes::new(),
                ..chunk("b.db")
            })],
        ),
        (
            "too large",
            vec![Message::Chunk(Chunk {
                data: vec![0; 256 * 1024 + 1].into(),
                ..chunk("b.db")
            })],
        ),
        (
            "a round that nobody asked for",
            vec![Message::Chunk(Chunk {
                round: 1,
                ..chunk("b.db")
            })],
        ),
        (
            "a drop of a path",
            vec![Message::Drop(proto::Drop {
                database: "..".into(),
                round: 0,
            })],
        ),
        (
            "an abort of nothing",
            vec![Message::Abort(proto::Abort {
                database: "a.db".into(),
                ..Default::default()
            })],
        ),
        ("a second hello", vec![Message::Hello(hello())]),
        (
            "a path in a heartbeat",
            vec![Message::Heartbeat(proto::Heartbeat {
                databases: vec![database("a/b")],
                ..Default::default()
            })],
        ),
    ];
    for (what, messages) in cases {
        // A new one each time: the replica comes back to the one that misbehaved.
        let mut primary = FakePrimary::start().await;
        let (following, mut connected) = accepted(&replica, &mut primary).await;
        for message in messages {
            connected.say(message);
        }
        following
            .until(what, |state| {
                matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("violation"))
            })
            .await;
        while connected.next().await.is_some() {}
        following.stop().await;
    }
    assert_eq!(replica.names(), ["a.db"]);
    assert!(before == (replica.pos("a.db"), replica.content("a.db")));
    assert!(!replica.dir.path().parent().unwrap().join("x").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_credit_ends_the_connection() {
    let replica = replica().await;
    let mut primary = FakePrimary::start().await;
    let (following, connected) = accepted(&replica, &mut primary).await;
    // The file that is not one is written to disk by a single thread; the network is faster, or the test proves
    // nothing: so it goes on until it is found out.
    let data = Bytes::from(vec![7; 256 * 1024]);
    let mut piece = Chunk {
        last: false,
        data,
        ..chunk("b.db")
    };
    let found = following.state.clone();
    let flood = async {
        for _ in 0..100_000 {
            if matches!(*found.borrow(), FollowState::Connecting { .. }) {
                return;
            }
            connected.say(Message::Chunk(piece.clone()));
            piece.offset += piece.data.len() as u64;
            piece.head = None;
            tokio::task::yield_now().await;
        }
    };
    flood.await;
    following
        .until("found out", |state| {
            matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("credit"))
        })
        .await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_applied_is_reported_and_asked_for_again() {
    let replica = replica().await;
    let database = replica
        .store
        .database(&support::node::name("a.db"))
        .unwrap();
    let (incarnation, pos) = (database.incarnation().get(), database.pos());
    let mut primary = FakePrimary::start().await;
    let (following, mut connected) = accepted(&replica, &mut primary).await;
    connected.keep_alive();
    for round in 0..3 {
        let mut bad = Chunk {
            round,
            transfer: 2 * round + 1,
            ..chunk("a.db")
        };
        bad.head.as_mut().unwrap().incarnation = incarnation;
        connected.say(Message::Chunk(bad));
        match connected.next().await.unwrap() {
            FromReplica::Failure(failure) => {
                assert_eq!(
                    (failure.round, failure.kind()),
                    (round, Kind::BadInput),
                    "{}",
                    failure.text
                );
            }
            other => panic!("expected a failure, got {other:?}"),
        }
        // Pieces that were on their way are discarded, without harm.
        let late = Chunk {
            round,
            transfer: 2 * round + 2,
            ..chunk("a.db")
        };
        connected.say(Message::Chunk(late));
        match connected.next().await.unwrap() {
            FromReplica::Ask(ask) => {
                assert_eq!((ask.round, ask.incarnation), (round + 1, incarnation));
                // First from where it is, then, since that did not help, all of it.
                let txid = ask.position.map_or(0, |position| position.txid);
                assert_eq!(txid, if round == 0 { pos.txid.get() } else { 0 });
            }
            other => panic!("expected a request, got {other:?}"),
        }
    }
    assert_eq!(database.pos(), pos);
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_to_the_other_side_and_those_that_last_are_retried_slowly() {
    let replica = replica().await;
    let mut primary = FakePrimary::start().await;
    // The replica refuses.
    for (hello, reason) in [
        (
            Hello {
                required_features: vec!["teleport".into()],
                ..hello()
            },
            Reason::Feature,
        ),
        (
            Hello {
                ltx_version_min: 4,
                ltx_version_max: 5,
                ..hello()
            },
            Reason::LtxVersion,
        ),
        (
            Hello {
                node_id: replica.store.node_id(),
                ..hello()
            },
            Reason::Clone,
        ),
    ] {
        let following = replica.follow(&primary.url);
        let (mut connected, theirs) = primary.accept().await;
        assert_eq!(theirs.databases.len(), 1);
        connected.say(Message::Hello(hello));
        match connected.next().await {
            Some(FromReplica::Refusal(refusal)) => {
                assert_eq!(refusal.reason(), reason, "{}", refusal.text)
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
        drop(connected);
        following.until_refused().await;
        following.stop().await;
    }
    // The primary refuses, for a reason that this version does not know.
    let following = replica.follow(&primary.url);
    let (connected, _) = primary.accept().await;
    connected.say(Message::Refusal(proto::Refusal {
        reason: 999,
        text: "not on\nMondays".into(),
    }));
    let reason = following.until_refused().await;
    assert!(reason.contains("not onMondays"), "{reason}");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_falls_silent_is_left() {
    let replica = replica().await;
    let mut primary = FakePrimary::start().await;
    let (following, connected) = accepted(&replica, &mut primary).await;
    following
        .until("left", |state| {
            matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("nothing heard"))
        })
        .await;
    drop(connected);
    // It comes back by itself.
    let (connected, _) = primary.accept().await;
    connected.say(Message::Hello(hello()));
    connected.say(Message::Ready(proto::Ready {}));
    following.until_in_sync().await;
    following.stop().await;
}
