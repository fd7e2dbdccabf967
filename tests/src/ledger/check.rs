//! One read transaction, and what it must find.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::ledger::digest;
use crate::ledger::schema::{FIRST_TICK, LAST_TICK, SUM};

/// What a good read transaction saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How many transactions of the workload were there.
    pub tick: i64,
}

/// What is wrong with a read transaction.
#[derive(Debug)]
pub enum Fault {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// An invariant does not hold.
    Violation(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

/// Reads all invariants in one transaction; `between` is called in the middle of it, with the snapshot held.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    connection: &mut Connection,
    pick: u64,
    between: impl FnOnce(),
) -> Result<Reading, Fault> {
    let transaction = connection.transaction()?;
    let first = tick(&transaction, FIRST_TICK)?;
    balances(&transaction)?;
    between();
    totals(&transaction)?;
    one_item(&transaction, pick)?;
    let last = tick(&transaction, LAST_TICK)?;
    same("the two far rows", first, last)?;
    transaction.commit()?;
    Ok(Reading { tick: last })
}

fn tick(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare("SELECT value FROM tick WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
}

fn balances(transaction: &Transaction<'_>) -> Result<(), Fault> {
    let sum: i64 = transaction
        .prepare("SELECT sum(balance) FROM account")?
        .query_row([], |row| row.get(0))?;
    same("sum of the balances", sum, SUM)
}

fn totals(transaction: &Transaction<'_>) -> Result<(), Fault> {
    let found: (i64, i64, i64) = transaction
        .prepare("SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(digest), 0) FROM item NOT INDEXED")?
        .query_row([], |row| row.try_into())?;
    let noted: (i64, i64, i64) = transaction
        .prepare("SELECT items, bytes, digests FROM total WHERE id = 1")?
        .query_row([], |row| row.try_into())?;
    same("count, bytes and digests of the items", found, noted)?;
    let indexed: i64 = transaction
        .prepare("SELECT count(*) FROM item INDEXED BY item_key WHERE key >= ''")?
        .query_row([], |row| row.get(0))?;
    same("entries of the index", indexed, noted.0)
}

fn one_item(transaction: &Transaction<'_>, pick: u64) -> Result<(), Fault> {
    let from = i64::try_from(pick % 1000).expect("less than 1000");
    let item: Option<(i64, i64, Vec<u8>)> = transaction
        .prepare("SELECT id, digest, data FROM item WHERE id >= ?1 LIMIT 1")?
        .query_row([from], |row| row.try_into())
        .optional()?;
    match item {
        Some((id, noted, data)) => same(&format!("digest of item {id}"), digest(&data), noted),
        None => Ok(()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Fault> {
    if found == expected {
        Ok(())
    } else {
        Err(Fault::Violation(format!(
            "{what}: {found:?} instead of {expected:?}"
        )))
    }
}
