//! The application that writes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::{Connection, params};

use super::{Latencies, WriterReport, now};
use crate::cli::LoadArgs;

/// Bytes of each row beside its numbers.
const PAYLOAD: usize = 100;

/// How long a write waits for a lock, as applications are told to set it.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS load (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL, written INTEGER NOT NULL, last INTEGER NOT NULL, payload BLOB
    );
    DELETE FROM load;
";

/// Commits rows one by one for so many seconds, then a last one that is marked as such.
pub(crate) fn write(args: &LoadArgs) -> anyhow::Result<()> {
    let shown = args.db.display();
    let connection = Connection::open(&args.db).with_context(|| format!("open {shown}"))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection
        .pragma_update(None, "journal_mode", "wal")
        .with_context(|| format!("set the mode of {shown}"))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection
        .execute_batch(SCHEMA)
        .with_context(|| format!("create a table in {shown}"))?;
    let report = insert_rows(&connection, args).with_context(|| format!("write to {shown}"))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

fn insert_rows(connection: &Connection, args: &LoadArgs) -> anyhow::Result<WriterReport> {
    let mut insert =
        connection.prepare("INSERT INTO load (run, written, last, payload) VALUES (?, ?, ?, ?)")?;
    let duration = Duration::from_secs(args.seconds.into());
    let mut latencies = Latencies::new();
    let start = Instant::now();
    let mut elapsed = Duration::ZERO;
    while elapsed < duration {
        let payload: [u8; PAYLOAD] = rand::random();
        insert.execute(params![args.run, now()?, false, payload])?;
        let after = start.elapsed();
        latencies.record(u64::try_from((after - elapsed).as_nanos()).unwrap_or(u64::MAX));
        elapsed = after;
    }
    insert.execute(params![args.run, now()?, true, [0u8; 0]])?;
    Ok(WriterReport {
        writes: latencies.count(),
        seconds: elapsed.as_secs_f64(),
        latency: latencies.quantiles(),
    })
}
