//! The tables of the workload, made and filled in one transaction: a replica shows all of it or nothing.

use rusqlite::Connection;

use crate::ledger::kind::JournalMode;

/// How many accounts there are.
pub(super) const ACCOUNTS: i64 = 40;
/// What the balances of all accounts make together.
pub(super) const SUM: i64 = ACCOUNTS * 1000;
/// The first of the rows between and including the two that must be equal.
pub const FIRST_TICK: i64 = 1;
/// The last of them: pages away from the first, at every page size.
pub const LAST_TICK: i64 = 64;
/// Bytes of padding in each of these rows.
const PADDING: i64 = 3000;

/// Makes the tables in an empty database.
///
/// # Errors
/// SQLite's; the page size and the journal mode that the database did not accept.
pub fn create(connection: &Connection, mode: JournalMode, page_size: u32) -> anyhow::Result<()> {
    connection.pragma_update(None, "page_size", page_size)?;
    let actual: String =
        connection
            .pragma_update_and_check(None, "journal_mode", mode.to_string(), |row| row.get(0))?;
    anyhow::ensure!(
        actual == mode.to_string(),
        "journal mode is {actual} instead of {mode}"
    );
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note BLOB NOT NULL);
         CREATE TABLE tick(id INTEGER PRIMARY KEY, value INTEGER NOT NULL, padding BLOB NOT NULL);
         CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT NOT NULL, digest INTEGER NOT NULL, data BLOB NOT NULL);
         CREATE INDEX item_key ON item(key);
         CREATE TABLE total(id INTEGER PRIMARY KEY, items INTEGER, bytes INTEGER, digests INTEGER);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS})
           INSERT INTO account SELECT i, 1000, randomblob(200) FROM n;
         WITH RECURSIVE n(i) AS (SELECT {FIRST_TICK} UNION ALL SELECT i + 1 FROM n WHERE i < {LAST_TICK})
           INSERT INTO tick SELECT i, 0, zeroblob({PADDING}) FROM n;
         INSERT INTO total VALUES (1, 0, 0, 0);
         COMMIT;"
    ))?;
    let actual: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    anyhow::ensure!(
        actual == page_size,
        "page size is {actual} instead of {page_size}"
    );
    Ok(())
}
