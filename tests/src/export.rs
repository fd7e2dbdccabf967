//! What is in a database file.

use std::path::Path;
use std::process::Command;

use crate::binary::client_binary;
use crate::tool::sqlite3;

/// The answer of `PRAGMA integrity_check`: `ok`, or what is wrong.
#[track_caller]
pub fn integrity(database: &Path) -> String {
    sqlite3(database, "PRAGMA integrity_check").unwrap_or_else(|error| error)
}

/// A digest of the schema and of every row of every table, read through SQLite by another process.
///
/// # Panics
/// If it cannot be read.
#[track_caller]
pub fn digest(database: &Path) -> String {
    let output = Command::new(client_binary())
        .arg("digest")
        .arg(database)
        .output()
        .expect("the client runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !text.is_empty(),
        "digest of {}: {complaint}",
        database.display()
    );
    text
}
