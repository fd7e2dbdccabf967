//! `POST /import`.

use crate::node::{Answer, Node, mark_of, primary, replica, sqlite_file};
use crate::raw;

/// The database holds what the first import of a test brought, and nothing has happened since.
async fn assert_unchanged(node: &Node, first: &Answer) {
    let exported = node.export("app.db").await;
    assert_eq!(exported.header("litefs-pos"), first.header("litefs-pos"));
    assert_eq!(mark_of(&exported.body), "first");
}

async fn node_with_a_database() -> (Node, Answer) {
    let node = Node::start(primary()).await;
    let first = node.import("app.db", sqlite_file("first", 100_000)).await;
    assert_eq!(first.said(), (200, ""));
    (node, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_a_database_in_one_transaction() {
    let (node, first) = node_with_a_database().await;
    assert!(
        first
            .header("litefs-pos")
            .unwrap()
            .starts_with("0000000000000001/")
    );
    let second = node
        .import("app.db", sqlite_file("second", 3_000_000))
        .await;
    assert_eq!(second.said(), (200, ""));
    assert!(
        second
            .header("litefs-pos")
            .unwrap()
            .starts_with("0000000000000002/")
    );
    assert_eq!(mark_of(&node.export("app.db").await.body), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_short_changes_nothing() {
    let (node, first) = node_with_a_database().await;
    let content = sqlite_file("second", 200_000);
    // A database of its own, as far as SQLite's header says: only the length gives it away.
    let part = &content[..content.len() / 2 / 4096 * 4096];
    let head = format!(
        "POST /import?name=app.db HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    let announced = [head.as_bytes(), part].concat();
    let chunk = format!("{:x}\r\n", part.len());
    let head = "POST /import?name=app.db HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = [head.as_bytes(), chunk.as_bytes(), part, b"\r\n"].concat();
    for request in [announced, chunked] {
        let answer = raw::send_and_end(&node, &request).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_unchanged(&node, &first).await;
    }
    let second = node.import("app.db", content).await;
    assert!(
        second
            .header("litefs-pos")
            .unwrap()
            .starts_with("0000000000000002/")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_refused_with_the_reason() {
    let (node, first) = node_with_a_database().await;
    let mut cut = sqlite_file("second", 100_000);
    cut.truncate(cut.len() - 100);
    for content in [Vec::new(), b"hello".to_vec(), vec![b'x'; 32 << 20], cut] {
        let size = content.len();
        let answer = node.import("app.db", content).await;
        assert_eq!(
            answer.status.as_u16(),
            400,
            "{size} bytes: {}",
            answer.text()
        );
        let reason = answer
            .text()
            .strip_prefix("database app.db: not a usable SQLite database: ");
        assert!(
            reason.is_some_and(|reason| reason.len() > 10),
            "{size} bytes: {}",
            answer.text()
        );
        assert_unchanged(&node, &first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_who_the_primary_is() {
    let node = Node::start(replica()).await;
    for size in [1, 8 << 20] {
        let answer = node.import("app.db", sqlite_file("mark", size)).await;
        assert_eq!(answer.said(), (503, "lease expired\n"));
        assert_eq!(answer.header("litefs-primary"), Some("http://db1:20202"));
    }
    assert!(node.store.databases().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let node = Node::start(replica()).await;
    let head = "POST /import?name=app.db HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    let answer = raw::send(&node, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("lease expired\n"), "{answer}");
}

/// Such a client finds its connection reset, and never reads, unless what it sends is taken to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_all_before_it_reads_gets_the_answer() {
    let body = vec![b'x'; 32 << 20];
    let request = |query: &str| {
        let length = body.len();
        let head =
            format!("POST /import{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        [head.as_bytes(), b"Connection: close\r\n\r\n", &body].concat()
    };
    let (primary, replica) = (Node::start(primary()).await, Node::start(replica()).await);
    for (node, query, status) in [
        (&replica, "?name=app.db", "HTTP/1.1 503"),
        (&primary, "?name=app.db", "HTTP/1.1 400"),
        (&primary, "", "HTTP/1.1 400"),
    ] {
        let answer = raw::send(node, &request(query)).await;
        assert!(answer.starts_with(status), "{query}: {answer}");
    }
}
