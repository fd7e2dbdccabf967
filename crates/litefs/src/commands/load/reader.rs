//! The application that reads on a replica.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags, Statement};

use super::writer::BUSY_TIMEOUT;
use super::{Latencies, ReaderReport, now};
use crate::cli::LoadArgs;

/// How long the database may take to reach this node, and its last row after the writer's time is over.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks for a database that is not there yet. SQLite has nothing to wait on.
const RETRY: Duration = Duration::from_millis(10);

const NEW_ROWS: &str = "SELECT id, written, last FROM load WHERE id > ? AND run = ? ORDER BY id";

/// Reads until the writer's last row is there.
pub(crate) fn read(args: &LoadArgs) -> anyhow::Result<()> {
    let connection = open_when_there(args)?;
    let mut new_rows = connection.prepare(NEW_ROWS)?;
    let deadline = Duration::from_secs(args.seconds.into()) + PATIENCE;
    let mut seen = Seen::default();
    // Rows that came before the first look say nothing about how fast they came.
    let mut lag = Latencies::new();
    look(&mut new_rows, args.run, &mut seen, |_| {})?;
    let start = Instant::now();
    let mut reads = 0;
    while !seen.last {
        look(&mut new_rows, args.run, &mut seen, |nanoseconds| {
            lag.record(nanoseconds)
        })
        .with_context(|| format!("read {}", args.db.display()))?;
        reads += 1;
        if start.elapsed() > deadline {
            bail!(
                "{}: the last row has not come within {} s",
                args.db.display(),
                deadline.as_secs()
            );
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let report = ReaderReport {
        reads,
        seconds,
        rows: lag.count(),
        lag: lag.quantiles(),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// How far a reader has come.
#[derive(Default)]
struct Seen {
    id: i64,
    last: bool,
}

/// One read transaction; `age` is told how old each new row is, in nanoseconds.
fn look(
    new_rows: &mut Statement<'_>,
    run: u32,
    seen: &mut Seen,
    mut age: impl FnMut(u64),
) -> anyhow::Result<()> {
    let mut rows = new_rows.query((seen.id, run))?;
    while let Some(row) = rows.next()? {
        seen.id = row.get(0)?;
        seen.last = row.get(2)?;
        let written: i64 = row.get(1)?;
        age(u64::try_from(now()? - written).unwrap_or(0));
    }
    Ok(())
}

/// Opens the database once it is there with its table.
fn open_when_there(args: &LoadArgs) -> anyhow::Result<Connection> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match open(args) {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("open {}", args.db.display()));
            }
            Err(_) => std::thread::sleep(RETRY),
        }
    }
}

fn open(args: &LoadArgs) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(&args.db, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.prepare(NEW_ROWS)?;
    Ok(connection)
}
