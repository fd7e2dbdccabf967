//! The clients: processes that do one thing to one database as fast as they can, or at a given rate.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::clock::{now, sleep_precisely, sleep_until};

/// Rows of the table.
const ROWS: i64 = 100_000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(200);
/// Between two looks of the reader that measures the lag.
const LOOK_EVERY: Duration = Duration::from_micros(30);
/// How long that reader waits for the last value.
const LAST: Duration = Duration::from_secs(20);

/// The line by which a client says that it is ready, and the one by which it is told to begin.
pub(crate) const READY: &str = "ready";
pub(crate) const GO: &str = "go";

/// What a client does. Each waits for its start after it has warmed up.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ClientCommand {
    /// Makes the table.
    #[command(hide = true)]
    Prepare {
        database: PathBuf,
        journal_mode: String,
        synchronous: String,
    },
    /// Changes one row in each transaction.
    #[command(hide = true)]
    Write {
        database: PathBuf,
        journal_mode: String,
        synchronous: String,
        seconds: f64,
    },
    /// Reads one row in each transaction.
    #[command(hide = true)]
    Read { database: PathBuf, seconds: f64 },
    /// Counts up at a rate (commits per second, 0: as fast as possible), noting when each value was committed.
    #[command(hide = true)]
    Count {
        database: PathBuf,
        rate: u32,
        seconds: f64,
    },
    /// Notes when each value is seen, until it is told the last one.
    #[command(hide = true)]
    Look { database: PathBuf },
}

/// How much was done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Transactions.
    pub(crate) transactions: u64,
    /// Seconds they took.
    pub(crate) seconds: f64,
}

/// A value, and the time on the clock when it was committed or first seen.
pub(crate) type Stamp = (i64, u64);

impl ClientCommand {
    /// Does it, and prints what came of it as JSON.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            ClientCommand::Prepare {
                database,
                journal_mode,
                synchronous,
            } => prepare(database, journal_mode, synchronous),
            ClientCommand::Write {
                database,
                journal_mode,
                synchronous,
                seconds,
            } => print(&write(
                &connect(database, journal_mode, synchronous)?,
                *seconds,
            )?),
            ClientCommand::Read { database, seconds } => print(&read(&open(database)?, *seconds)?),
            ClientCommand::Count {
                database,
                rate,
                seconds,
            } => print(&count(
                &connect(database, "wal", "normal")?,
                *rate,
                *seconds,
            )?),
            ClientCommand::Look { database } => print(&look(&open(database)?)?),
        }
    }
}

fn print<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn connect(database: &Path, journal_mode: &str, synchronous: &str) -> rusqlite::Result<Connection> {
    let connection = open(database)?;
    connection.pragma_update_and_check(None, "journal_mode", journal_mode, |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

fn prepare(database: &Path, journal_mode: &str, synchronous: &str) -> anyhow::Result<()> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", journal_mode, |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch(&format!(
        "BEGIN;
         CREATE TABLE row(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, data BLOB NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
           INSERT INTO row SELECT i, 0, randomblob(100) FROM n;
         COMMIT"
    ))?;
    Ok(())
}

/// Says that it is ready and waits for the start.
fn await_start() -> anyhow::Result<()> {
    println!("{READY}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    anyhow::ensure!(line.trim() == GO, "the driver has gone");
    Ok(())
}

/// Repeats `transaction` for a time, after it has done so for a while to warm up.
fn repeat(
    seconds: f64,
    mut transaction: impl FnMut() -> rusqlite::Result<()>,
) -> anyhow::Result<Done> {
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP {
        transaction()?;
    }
    await_start()?;
    let (begun, length) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut transactions = 0;
    while begun.elapsed() < length {
        transaction()?;
        transactions += 1;
    }
    Ok(Done {
        transactions,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

fn write(connection: &Connection, seconds: f64) -> anyhow::Result<Done> {
    let mut random = StdRng::from_os_rng();
    let mut statement = connection.prepare("UPDATE row SET number = number + 1 WHERE id = ?1")?;
    repeat(seconds, || {
        statement.execute([random.random_range(1..=ROWS)]).map(drop)
    })
}

fn read(connection: &Connection, seconds: f64) -> anyhow::Result<Done> {
    let mut random = StdRng::from_os_rng();
    let mut statement = connection.prepare("SELECT number, data FROM row WHERE id = ?1")?;
    repeat(seconds, || {
        statement.query_row([random.random_range(1..=ROWS)], |row| {
            row.get::<_, i64>(0).map(drop)
        })
    })
}

fn count(connection: &Connection, rate: u32, seconds: f64) -> anyhow::Result<Vec<Stamp>> {
    sleep_precisely();
    let mut statement = connection.prepare("UPDATE row SET number = ?1 WHERE id = 1")?;
    let mut value: i64 =
        connection.query_row("SELECT number FROM row WHERE id = 1", [], |row| row.get(0))?;
    await_start()?;
    let mut stamps = Vec::new();
    let (begun, step) = (
        now(),
        1_000_000_000_u64.checked_div(u64::from(rate)).unwrap_or(0),
    );
    while now() - begun < (seconds * 1e9) as u64 {
        value += 1;
        statement.execute([value])?;
        stamps.push((value, now()));
        sleep_until(begun + step * stamps.len() as u64);
    }
    Ok(stamps)
}

fn look(connection: &Connection) -> anyhow::Result<Vec<Stamp>> {
    sleep_precisely();
    let mut statement = connection.prepare("SELECT number FROM row WHERE id = 1")?;
    let mut seen: i64 = statement.query_row([], |row| row.get(0))?;
    await_start()?;
    let last = last_value();
    let mut stamps: Vec<Stamp> = Vec::new();
    let mut told = None;
    while seen < last.load(Ordering::Relaxed) {
        let value: i64 = statement.query_row([], |row| row.get(0))?;
        if value > seen {
            stamps.push((value, now()));
            seen = value;
        }
        if last.load(Ordering::Relaxed) < i64::MAX {
            let told = *told.get_or_insert_with(Instant::now);
            anyhow::ensure!(
                told.elapsed() < LAST,
                "value {} has not come",
                last.load(Ordering::Relaxed)
            );
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(stamps)
}

/// The last value that there will be, once the driver has said it.
fn last_value() -> Arc<AtomicI64> {
    let last = Arc::new(AtomicI64::new(i64::MAX));
    let told = Arc::clone(&last);
    thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        // Without a driver there is nothing to wait for.
        let value = read
            .ok()
            .and_then(|_| line.trim().parse().ok())
            .unwrap_or(i64::MIN);
        told.store(value, Ordering::Relaxed);
    });
    last
}
