//! Paths, methods, names and headers; health.

use std::time::{SystemTime, UNIX_EPOCH};

use store::{ClusterId, Role};

use crate::node::{Node, primary, replica};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_wrong_methods_are_refused() {
    let node = Node::start(primary()).await;
    assert_eq!(node.get("/nothing").await.said(), (404, "not found\n"));
    assert_eq!(node.get("/").await.said(), (404, "not found\n"));
    assert_eq!(
        node.get("/import?name=app").await.said(),
        (405, "method not allowed\n")
    );
    for path in ["/info", "/export?name=app", "/metrics", "/health"] {
        let answer = node.post(path).await;
        assert_eq!(answer.said(), (405, "method not allowed\n"), "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_the_node_and_the_cluster() {
    let node = Node::start(primary()).await;
    let id = format!("{:016X}", node.store.node_id());
    let unnamed = node.get("/info").await;
    assert_eq!(
        (
            unnamed.header("litefs-id"),
            unnamed.header("litefs-cluster-id")
        ),
        (Some(id.as_str()), None)
    );

    let cluster = ClusterId::random();
    node.store.adopt_cluster_id(cluster.clone()).unwrap();
    for path in [
        "/info", "/metrics", "/health", "/export", "/import", "/nothing",
    ] {
        let answer = node.get(path).await;
        assert_eq!(answer.header("litefs-id"), Some(id.as_str()), "{path}");
        assert_eq!(
            answer.header("litefs-cluster-id"),
            Some(cluster.to_string().as_str()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_required_and_checked() {
    let node = Node::start(primary()).await;
    for query in ["", "?", "?name", "?name=", "?other=app"] {
        assert_eq!(
            node.get(&format!("/export{query}")).await.said(),
            (400, "name required\n"),
            "{query}"
        );
        assert_eq!(
            node.post(&format!("/import{query}")).await.said(),
            (400, "name required\n"),
            "{query}"
        );
    }
    for name in [
        "..",
        "a%2Fb",
        "%2E%2E%2Fetc",
        "a%00b",
        "app-wal",
        "app-journal",
        ".primary",
        &"x".repeat(300),
    ] {
        for answer in [
            node.get(&format!("/export?name={name}")).await,
            node.post(&format!("/import?name={name}")).await,
        ] {
            assert_eq!(answer.status.as_u16(), 400, "{name}: {}", answer.text());
            assert!(
                answer.text().ends_with('\n') && answer.text().len() > 10,
                "{name}: {:?}",
                answer.text()
            );
        }
    }
    assert_eq!(
        node.get("/export?name=absent").await.said(),
        (404, "database not found\n")
    );
    assert!(node.store.databases().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_role_and_lag() {
    let now = || {
        i64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap()
    };
    let node = Node::start(Role::None).await;
    assert_eq!(
        node.get("/health").await.said(),
        (503, "neither primary nor replica\n")
    );
    node.store.set_role(replica()).unwrap();
    let never = "replica, connected, never in sync with the primary\n";
    assert_eq!(node.get("/health").await.said(), (503, never));
    node.store.note_primary_clock(now(), true);
    assert_eq!(node.get("/health").await.said(), (200, "OK\n"));
    node.store.set_role(primary()).unwrap();
    assert_eq!(node.get("/health").await.said(), (200, "OK\n"));
}
