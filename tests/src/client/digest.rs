//! A digest of everything SQLite shows of a database, whatever the pages look like.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::client::open::{Access, open};

/// The client's side: prints the digest.
///
/// # Errors
/// SQLite's.
pub fn run_digest(database: &Path) -> anyhow::Result<()> {
    let connection = open(database, Access::ReadWrite)?;
    connection.execute_batch("BEGIN")?;
    println!("{:016x}", content(&connection)?);
    Ok(())
}

fn content(connection: &Connection) -> rusqlite::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut statement = connection
        .prepare("SELECT name, type, coalesce(sql, '') FROM sqlite_schema ORDER BY name")?;
    let objects: Vec<(String, String, String)> = statement
        .query_map([], |row| row.try_into())?
        .collect::<rusqlite::Result<_>>()?;
    objects.hash(&mut hasher);
    for (table, ..) in objects.iter().filter(|(_, kind, _)| kind == "table") {
        rows(connection, table, &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn rows(connection: &Connection, table: &str, hasher: &mut DefaultHasher) -> rusqlite::Result<()> {
    let without_rowid: bool = connection.query_row(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?",
        [table],
        |row| row.get(0),
    )?;
    // Such a table is read in the order of its key.
    let order = if without_rowid { "" } else { "ORDER BY rowid" };
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\" {order}"))?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => 0.hash(hasher),
                ValueRef::Integer(number) => number.hash(hasher),
                ValueRef::Real(number) => number.to_bits().hash(hasher),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(hasher),
            }
        }
    }
    Ok(())
}
