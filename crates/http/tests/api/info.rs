//! `GET /info`.

use serde_json::{Value, json};
use store::Role;

use crate::node::{Node, primary, replica, sqlite_file};

async fn info(node: &Node) -> Value {
    let answer = node.get("/info").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(
        answer.text().starts_with("{\n  \"") && answer.text().ends_with("}\n"),
        "{}",
        answer.text()
    );
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_node() {
    let node = Node::start(primary()).await;
    let expected = json!({
        "isPrimary": true,
        "candidate": true,
        "path": "/litefs",
        "primary": {"hostname": "here"},
        "nodeID": format!("{:016X}", node.store.node_id()),
        "hostname": "here",
        "role": "primary",
        "version": "1.2.3",
        "lag": 0,
        "lease": {"state": "follower", "epoch": 7, "refusal": "behind"},
        "stream": "connected to db1",
        "replicas": [{"nodeID": "00000000000000AB", "hostname": "db2", "address": "10.0.0.2:4711"}],
        "unreplicated": 0,
        "drained": true,
        "databases": [],
    });
    assert_eq!(info(&node).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_whom_a_replica_follows() {
    let node = Node::start(replica()).await;
    let shown = info(&node).await;
    assert_eq!(
        (&shown["isPrimary"], &shown["role"]),
        (&json!(false), &json!("replica"))
    );
    assert_eq!(
        (&shown["primary"]["hostname"], &shown["lag"]),
        (&json!("db1"), &Value::Null)
    );
    node.store
        .set_role(Role::Replica { primary: None })
        .unwrap();
    assert_eq!(info(&node).await["primary"], json!({"hostname": ""}));
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_each_database() {
    let node = Node::start(primary()).await;
    let content = sqlite_file("mark", 10_000);
    let (b, a) = (
        node.import("b.db", content.clone()).await,
        node.import("a.db", content.clone()).await,
    );
    let shown = info(&node).await;
    let databases = shown["databases"].as_array().unwrap();
    assert_eq!(databases.len(), 2);
    for (database, name, imported) in [(&databases[0], "a.db", a), (&databases[1], "b.db", b)] {
        assert_eq!(database["name"], json!(name));
        let pos = format!(
            "{}/{}",
            database["txid"].as_str().unwrap(),
            database["checksum"].as_str().unwrap()
        );
        assert_eq!(Some(pos.as_str()), imported.header("litefs-pos"));
        assert_eq!(database["mode"], json!("rollback"));
        assert_eq!(database["pageSize"], json!(4096));
        assert_eq!(database["pageCount"], json!(content.len() / 4096));
        assert_eq!(database["error"], Value::Null);
        assert_eq!(database["incarnation"].as_str().unwrap().len(), 16);
        assert!(
            database["ltxFiles"].as_u64() >= Some(1) && database["ltxBytes"].as_u64() > Some(0),
            "{database}"
        );
        assert!(
            database["lastChange"].as_i64() > Some(1_700_000_000_000),
            "{database}"
        );
        let counts = ["commits", "applied", "lagMs"];
        assert!(
            counts
                .iter()
                .all(|field| database[field].is_i64() || database[field].is_u64()),
            "{database}"
        );
    }
}
