//! Nodes without a mount, on the loopback interface.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

pub mod fake_primary;
pub mod fake_replica;
pub mod node;
pub mod proxy;

use std::time::Duration;

/// How long anything may take that should happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; panics with `what` if it does not in time.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let wait = async {
        while !condition() {
            tick.tick().await;
        }
    };
    if tokio::time::timeout(SOON, wait).await.is_err() {
        panic!("after {SOON:?} still not: {what}");
    }
}

/// A SQLite database file with that many rows of about a kilobyte; the same `seed` gives the same content.
pub fn image(rows: usize, seed: u64, mode: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    database.pragma_update(None, "journal_mode", mode).unwrap();
    database
        .execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)", ())
        .unwrap();
    let transaction = database.transaction().unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..rows {
        let mut row = Vec::with_capacity(1000);
        while row.len() < 1000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            row.extend_from_slice(&state.to_le_bytes());
        }
        transaction
            .execute("INSERT INTO t (x) VALUES (?1)", [row])
            .unwrap();
    }
    transaction.commit().unwrap();
    database.close().unwrap();
    std::fs::read(&path).unwrap()
}
