//! `GET /export`.

use std::fs::File;

use tokio::time::timeout;

use crate::node::{DEADLINE, Node, answer, mark_of, primary, sqlite_file};

/// More than the buffers of a loopback connection hold.
const LARGE: u32 = 48 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn gives_the_whole_database_and_its_position() {
    let node = Node::start(primary()).await;
    for (name, size) in [("small", 1), ("large", 5_000_000)] {
        let content = sqlite_file(name, size);
        let imported = node.import(name, content.clone()).await;
        assert_eq!(imported.said(), (200, ""));
        let exported = node.export(name).await;
        assert_eq!(exported.status.as_u16(), 200);
        assert_eq!(
            exported.header("content-length"),
            Some(content.len().to_string().as_str())
        );
        assert_eq!(exported.header("litefs-pos"), imported.header("litefs-pos"));
        assert_eq!(exported.body.len(), content.len());
        assert_eq!(mark_of(&exported.body), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_breaks_the_connection() {
    let node = Node::start(primary()).await;
    assert_eq!(
        node.import("app.db", sqlite_file("mark", LARGE))
            .await
            .said(),
        (200, "")
    );
    let response = node.begin_export("app.db").await;
    assert_eq!(response.status().as_u16(), 200);
    // The reader cannot be done: nobody takes what it reads. Now the rest is gone.
    let file = File::options()
        .write(true)
        .open(node.database_file("app.db"))
        .unwrap();
    file.set_len(4096).unwrap();
    let read = timeout(DEADLINE, answer(response)).await.unwrap();
    assert!(
        read.is_err(),
        "{} bytes taken for the whole",
        read.map_or(0, |answer| answer.body.len())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_transfers_is_bounded() {
    let node = Node::start(primary()).await;
    assert_eq!(
        node.import("app.db", sqlite_file("mark", LARGE))
            .await
            .said(),
        (200, "")
    );
    let mut under_way = Vec::new();
    for _ in 0..8 {
        under_way.push(node.begin_export("app.db").await);
    }
    let refusal = "8 exports and imports are under way, try again later\n";
    assert_eq!(node.export("app.db").await.said(), (503, refusal));
    assert_eq!(
        node.import("other.db", sqlite_file("mark", 1)).await.said(),
        (503, refusal)
    );
    // One that is read to its end makes room, and so do clients that go away.
    let first = under_way.remove(0);
    assert_eq!(mark_of(&answer(first).await.unwrap().body), "mark");
    drop(under_way);
    timeout(DEADLINE, async {
        while node.import("other.db", sqlite_file("mark", 1)).await.status != 200 {}
    })
    .await
    .unwrap();
}
