//! The application that reads: its process.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::event::{Read, Seen, WriteId};
use super::now;
use super::record::{Pace, end_of_input, open};

const NEWEST: &str =
    "SELECT node, seq, (SELECT count(*) FROM history) FROM history ORDER BY id DESC LIMIT 1";

/// The client's side: reads until standard input ends, and prints what it saw.
///
/// # Errors
/// When the description is none, or the test is gone.
pub fn run_observer(database: &Path, description: &str) -> anyhow::Result<()> {
    let pace: Pace = serde_json::from_str(description)?;
    let over = end_of_input();
    let mut connection: Option<Connection> = None;
    while !over.load(Ordering::SeqCst) {
        let before = now();
        let result = look(&mut connection, database, &pace);
        let read = Read {
            node: pace.node,
            before,
            after: now(),
            result: result.map_err(|error| error.to_string()),
        };
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, &read)?;
        writeln!(output)?;
        output.flush()?;
        drop(output);
        thread::sleep(Duration::from_millis(pace.pause_ms));
    }
    Ok(())
}

fn look(
    kept: &mut Option<Connection>,
    database: &Path,
    pace: &Pace,
) -> rusqlite::Result<Option<Seen>> {
    if kept.is_none() {
        *kept = Some(open(database, pace)?);
    }
    let connection = kept.as_ref().expect("opened above");
    let seen = connection
        .query_row(NEWEST, [], |row| {
            Ok(Seen {
                newest: WriteId {
                    node: row.get(0)?,
                    seq: row.get(1)?,
                },
                count: row.get(2)?,
            })
        })
        .optional();
    if seen.is_err() {
        *kept = None;
    }
    seen
}
