//! What connects to the primary and is no well-behaved replica.

mod support;

use replication::proto::primary_message::Message as FromPrimary;
use replication::proto::refusal::Reason;
use replication::proto::replica_message::Message;
use replication::proto::{self, Chunk, DatabaseState, Hello, HelloDatabases, Position};
use support::fake_replica::{FakeReplica, hello};
use support::node::{Node, Serving, name};
use support::{image, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

async fn primary() -> (Node, Serving) {
    let primary = Node::primary();
    primary.import("a.db", &image(3, 1, "DELETE"));
    let serving = primary.serve().await;
    (primary, serving)
}

/// Nothing is left of those who were sent away, and a decent replica is served as before.
async fn until_untouched(primary: &Node, serving: &Serving) {
    until("nobody is connected", || serving.replicas.count() == 0).await;
    assert_eq!(primary.names(), ["a.db"]);
    let replica = Node::replica();
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    assert!(primary.content("a.db") == replica.content("a.db"));
    following.stop().await;
}

/// The refusal that a hello gets.
async fn refusal(serving: &Serving, hello: Hello) -> proto::Refusal {
    let mut replica = FakeReplica::connect(&serving.url(), Message::Hello(hello)).await;
    match replica.next().await {
        Ok(Some(FromPrimary::Refusal(refusal))) => {
            assert!(
                matches!(replica.next().await, Ok(None)),
                "a refusal is the last message"
            );
            refusal
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// How a stream ends after these messages.
async fn end(serving: &Serving, messages: Vec<Message>) -> tonic::Status {
    let mut messages = messages.into_iter();
    let replica = FakeReplica::connect(&serving.url(), messages.next().unwrap()).await;
    for message in messages {
        // It may have been sent away already.
        let _ = replica.send.send(proto::ReplicaMessage {
            message: Some(message),
        });
    }
    replica.end().await.expect_err("an error ends it")
}

fn database(name: &str) -> DatabaseState {
    DatabaseState {
        name: name.to_owned(),
        ..DatabaseState::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_http2_get_an_answer_or_the_end() {
    let (primary, serving) = primary().await;
    for garbage in [
        &b"\0\xff\x01garbage that is no protocol\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ] {
        let mut stream = TcpStream::connect(serving.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    // A preface of HTTP/2, and then nonsense.
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&[0xff; 4096]).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    until_untouched(&primary, &serving).await;
}

/// The answer to a request of HTTP/1.
async fn ask(serving: &Serving, what: &str) -> String {
    let mut stream = TcpStream::connect(serving.address).await.unwrap();
    let request = format!("{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_clients_are_told_what_is_wanted() {
    let (primary, serving) = primary().await;
    let answer = ask(&serving, "POST /litefs.v1.Replication/Replicate").await;
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("HTTP/2"), "{answer}");
    // Other paths are somebody else's, or nobody's.
    let answer = ask(&serving, "GET /other").await;
    assert!(answer.ends_with("something else"), "{answer}");
    let answer = ask(&serving, "GET /unknown").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    until_untouched(&primary, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hellos_that_do_not_fit_are_refused_with_the_reason() {
    let (primary, serving) = primary().await;
    let unknown = refusal(
        &serving,
        Hello {
            required_features: vec!["teleport".into()],
            ..hello(5)
        },
    )
    .await;
    assert_eq!(unknown.reason(), Reason::Feature);
    assert!(unknown.text.contains("teleport"), "{}", unknown.text);
    let newer = Hello {
        protocol_min: 2,
        protocol_max: 3,
        ..hello(5)
    };
    assert_eq!(refusal(&serving, newer).await.reason(), Reason::Protocol);
    let older = Hello {
        ltx_version_min: 1,
        ltx_version_max: 1,
        ..hello(5)
    };
    assert_eq!(refusal(&serving, older).await.reason(), Reason::LtxVersion);
    let stranger = Hello {
        cluster_id: "LFSC0123456789ABCDEF".into(),
        ..hello(5)
    };
    assert_eq!(refusal(&serving, stranger).await.reason(), Reason::Cluster);
    let from_the_future = Hello {
        epoch: 99,
        ..hello(5)
    };
    assert_eq!(
        refusal(&serving, from_the_future).await.reason(),
        Reason::StaleEpoch
    );
    let copy = Hello {
        node_id: primary.store.node_id(),
        ..hello(5)
    };
    assert_eq!(refusal(&serving, copy).await.reason(), Reason::Clone);
    until_untouched(&primary, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_protocol_ends_the_stream() {
    let (primary, serving) = primary().await;
    let ack = |consumed| {
        let database = "a.db".to_owned();
        Message::Ack(proto::Ack {
            database,
            consumed,
            ..Default::default()
        })
    };
    let greeted = |then: Message| vec![Message::Hello(hello(5)), then];
    let page = |databases| {
        Message::HelloDatabases(HelloDatabases {
            databases,
            more_databases: false,
        })
    };
    let cases = [
        ("no hello", vec![ack(0)]),
        ("two hellos", greeted(Message::Hello(hello(5)))),
        ("a page that was not announced", greeted(page(Vec::new()))),
        (
            "a path",
            vec![Message::Hello(Hello {
                databases: vec![database("../x")],
                ..hello(5)
            })],
        ),
        (
            "a path in the filter",
            vec![Message::Hello(Hello {
                filter: vec!["/etc/passwd".into()],
                ..hello(5)
            })],
        ),
        (
            "twice the same",
            vec![Message::Hello(Hello {
                databases: vec![database("x"), database("x")],
                ..hello(5)
            })],
        ),
        (
            "outside its own filter",
            vec![Message::Hello(Hello {
                filter: vec!["y".into()],
                databases: vec![database("x")],
                ..hello(5)
            })],
        ),
        (
            "too many at once",
            vec![Message::Hello(Hello {
                databases: (0..1001)
                    .map(|number| database(&number.to_string()))
                    .collect(),
                ..hello(5)
            })],
        ),
        (
            "no node id",
            vec![Message::Hello(Hello {
                node_id: 0,
                ..hello(5)
            })],
        ),
        ("more than was sent", greeted(ack(u64::MAX))),
        (
            "a round that was not asked for",
            greeted(Message::Ack(proto::Ack {
                database: "a.db".into(),
                round: 7,
                ..Default::default()
            })),
        ),
        (
            "never sent",
            greeted(Message::Failure(proto::Failure {
                database: "b.db".into(),
                ..Default::default()
            })),
        ),
        (
            "a path again",
            greeted(Message::Ask(proto::Ask {
                database: "../x".into(),
                round: 1,
                ..Default::default()
            })),
        ),
    ];
    for (what, messages) in cases {
        let status = end(&serving, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert!(
            status.message().contains("protocol violation"),
            "{what}: {status:?}"
        );
    }
    // Longer than any message may be; the length is believed no further than that.
    let long = Hello {
        hostname: "x".repeat(2_000_000),
        ..hello(5)
    };
    let status = end(&serving, vec![Message::Hello(long)]).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    until_untouched(&primary, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_says_nothing_more_is_given_up() {
    let (primary, serving) = primary().await;
    let silent = FakeReplica::connect(&serving.url(), Message::Hello(hello(5))).await;
    until("it is connected", || serving.replicas.count() == 1).await;
    let status = silent.end().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    until_untouched(&primary, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_what_does_not_exist_are_answered_and_leave_nothing() {
    let (primary, serving) = primary().await;
    let first = Hello {
        databases: vec![database("other.db")],
        ..hello(5)
    };
    let mut replica = FakeReplica::connect(&serving.url(), Message::Hello(first)).await;
    replica.keep_alive();
    replica.say(Message::Ask(proto::Ask {
        database: "nothing.db".into(),
        round: 3,
        ..Default::default()
    }));
    let mut dropped = Vec::new();
    while dropped.len() < 2 {
        if let Some(FromPrimary::Drop(gone)) = replica.next().await.unwrap() {
            dropped.push((gone.database, gone.round));
        }
    }
    assert_eq!(
        dropped,
        [("other.db".to_owned(), 0), ("nothing.db".to_owned(), 3)]
    );
    drop(replica);
    until_untouched(&primary, &serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_credit_stops_and_the_others_go_on() {
    let (primary, serving) = primary().await;
    primary.import("large.db", &image(8000, 1, "DELETE"));
    let mut replica = FakeReplica::connect(&serving.url(), Message::Hello(hello(5))).await;
    replica.keep_alive();
    // Acknowledges what comes for a.db, nothing of large.db, and commits to a.db when large.db has stopped.
    let (mut large, mut small, mut commits) = (0, 0, 0);
    let credit = 4 * 1024 * 1024;
    while commits < 5 {
        let Some(FromPrimary::Chunk(chunk)) = replica.next().await.unwrap() else {
            continue;
        };
        assert!(chunk.data.len() <= 256 * 1024);
        if chunk.database == "large.db" {
            assert_eq!(chunk.offset, large);
            assert!(!chunk.last, "all of it came without credit");
            large += chunk.data.len() as u64;
            assert!(large <= credit + 256 * 1024, "{large} bytes are in flight");
        } else {
            small += chunk.data.len() as u64 + 128;
            replica.say(applied(&chunk, small));
        }
        if large >= credit && (commits == 0 || chunk.database == "a.db") {
            primary.import("a.db", &image(3, commits + 2, "DELETE"));
            commits += 1;
        }
    }
    // With credit the rest comes, until the end.
    let mut consumed = large + large.div_ceil(256 * 1024) * 128;
    let ack = |consumed| proto::Ack {
        database: "large.db".into(),
        consumed,
        ..Default::default()
    };
    replica.say(Message::Ack(ack(consumed)));
    loop {
        let Some(FromPrimary::Chunk(chunk)) = replica.next().await.unwrap() else {
            continue;
        };
        if chunk.database == "large.db" {
            consumed += chunk.data.len() as u64 + 128;
            replica.say(Message::Ack(ack(consumed)));
            if chunk.last {
                break;
            }
        }
    }
    let acknowledged = serving.replicas.list()[0].acknowledged.clone();
    assert!(
        acknowledged
            .iter()
            .any(|(db, pos)| *db == name("a.db") && pos.txid.get() >= 5),
        "{acknowledged:?}"
    );
}

/// The acknowledgement of a transaction of one piece.
fn applied(chunk: &Chunk, consumed: u64) -> Message {
    let head = chunk.head.as_ref().expect("it fits one piece");
    let applied = Some(Position {
        txid: head.max_txid,
        checksum: head.post_apply_checksum,
    });
    let database = chunk.database.clone();
    Message::Ack(proto::Ack {
        database,
        consumed,
        applied,
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_may_come_in_pages() {
    let (primary, serving) = primary().await;
    let page = |range: std::ops::Range<u32>| {
        range
            .map(|number| database(&format!("{number}.db")))
            .collect::<Vec<_>>()
    };
    let first = Hello {
        databases: page(0..1000),
        more_databases: true,
        ..hello(5)
    };
    let mut replica = FakeReplica::connect(&serving.url(), Message::Hello(first)).await;
    replica.keep_alive();
    replica.say(Message::HelloDatabases(HelloDatabases {
        databases: page(1000..1500),
        more_databases: false,
    }));
    let mut dropped = 0;
    while dropped < 1500 {
        match replica.next().await.unwrap() {
            Some(FromPrimary::Drop(_)) => dropped += 1,
            Some(_) => {}
            None => panic!("the stream ended after {dropped}"),
        }
    }
    drop(replica);
    until_untouched(&primary, &serving).await;
}
