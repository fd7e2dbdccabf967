//! `GET /metrics`.

use std::collections::BTreeMap;

use crate::node::{Node, primary, replica, sqlite_file};

/// Values by series, and types by name.
struct Scrape {
    values: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

/// Reads Prometheus's text format, version 0.0.4, as far as series without timestamps use it.
async fn scrape(node: &Node) -> Scrape {
    let answer = node.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let mut scrape = Scrape {
        values: BTreeMap::new(),
        types: BTreeMap::new(),
    };
    for line in answer.text().lines().filter(|line| !line.is_empty()) {
        if let Some(declaration) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declaration.split_once(' ').unwrap();
            assert!(
                scrape
                    .types
                    .insert(name.to_owned(), kind.to_owned())
                    .is_none(),
                "{name} declared twice"
            );
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(scrape.types.contains_key(name), "{name} is not declared");
            let value = value.parse().unwrap();
            assert!(
                scrape.values.insert(series.to_owned(), value).is_none(),
                "{series} given twice"
            );
        }
    }
    scrape
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_node_and_its_databases() {
    let node = Node::start(primary()).await;
    for _ in 0..2 {
        assert_eq!(
            node.import("app.db", sqlite_file("mark", 10_000))
                .await
                .said(),
            (200, "")
        );
    }
    assert_eq!(
        node.import("wei\"rd", sqlite_file("mark", 1)).await.said(),
        (200, "")
    );
    let Scrape { values, types } = scrape(&node).await;
    for (series, value) in [
        ("litefs_db_count", 2.0),
        ("litefs_is_primary", 1.0),
        ("litefs_subscriber_count", 1.0),
        ("litefs_http_stream_count", 1.0),
        ("litefs_lag_seconds", 0.0),
        ("litefs_db_txid{db=\"app.db\"}", 2.0),
        ("litefs_db_txid{db=\"wei\\\"rd\"}", 1.0),
        ("litefs_db_latched{db=\"app.db\"}", 0.0),
        ("litefs_db_lag_seconds{db=\"app.db\"}", 0.0),
    ] {
        assert_eq!(values.get(series), Some(&value), "{series}");
    }
    let status = node.store.databases()[0].status();
    assert_eq!(
        values["litefs_db_ltx_count{db=\"app.db\"}"],
        status.ltx_files as f64
    );
    assert_eq!(
        values["litefs_db_ltx_bytes{db=\"app.db\"}"],
        status.ltx_bytes as f64
    );
    for name in [
        "database_write_count",
        "journal_write_count",
        "wal_write_count",
        "shm_write_count",
    ] {
        assert_eq!(types[&format!("litefs_db_{name}")], "counter");
    }
    assert_eq!(
        (
            &*types["litefs_db_commit_count"],
            &*types["litefs_db_ltx_reap_count"]
        ),
        ("counter", "counter")
    );
    assert_eq!(
        (&*types["litefs_db_txid"], &*types["litefs_db_ltx_count"]),
        ("gauge", "gauge")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_never_in_sync_does_not_look_current() {
    let node = Node::start(replica()).await;
    let Scrape { values, .. } = scrape(&node).await;
    assert_eq!(
        (values["litefs_is_primary"], values["litefs_lag_seconds"]),
        (0.0, 2_147_483.647)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_in_one_process_do_not_mix() {
    let (one, other) = (Node::start(primary()).await, Node::start(primary()).await);
    assert_eq!(
        one.import("app.db", sqlite_file("mark", 1)).await.said(),
        (200, "")
    );
    assert_eq!(scrape(&one).await.values["litefs_db_count"], 1.0);
    let empty = scrape(&other).await.values;
    assert_eq!(empty["litefs_db_count"], 0.0);
    assert!(
        !empty.keys().any(|series| series.contains("app.db")),
        "{empty:?}"
    );
}
