//! The application that writes: its process.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::event::{Line, Outcome};
use super::now;

/// The table. The ids are in the order of the commits.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS history(id INTEGER PRIMARY KEY, node INTEGER NOT NULL, \
                         seq INTEGER NOT NULL, filler BLOB)";

/// How an application works.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pace {
    /// Its node.
    pub node: u32,
    /// The number of its first write. No other recorder of this node may have numbers from here on.
    pub first: u32,
    /// Milliseconds between two writes or reads.
    pub pause_ms: u64,
    /// How long it waits for locks, in milliseconds.
    pub busy_timeout_ms: u64,
    /// Bytes that each write adds, beside its number.
    pub filler: u32,
    /// `PRAGMA synchronous`, as a word.
    pub synchronous: String,
}

impl Pace {
    /// A write every few milliseconds, and little patience.
    pub fn new(node: u32) -> Pace {
        Pace {
            node,
            first: 1,
            pause_ms: 3,
            busy_timeout_ms: 50,
            filler: 100,
            synchronous: "normal".to_owned(),
        }
    }

    /// The same from another number on.
    pub fn from(self, first: u32) -> Pace {
        Pace { first, ..self }
    }
}

/// Becomes true when standard input ends: the test wants no more, or is gone.
pub(super) fn end_of_input() -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = over.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::SeqCst);
    });
    over
}

/// Opens the database; it must be there.
pub(super) fn open(database: &Path, pace: &Pace) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(Duration::from_millis(pace.busy_timeout_ms))?;
    connection.pragma_update(None, "synchronous", &pace.synchronous)?;
    Ok(connection)
}

/// The client's side: writes until standard input ends.
///
/// # Errors
/// When the description is none, or the test is gone.
pub fn run_recorder(database: &Path, description: &str) -> anyhow::Result<()> {
    let pace: Pace = serde_json::from_str(description)?;
    let over = end_of_input();
    let mut connection: Option<Connection> = None;
    let mut seq = pace.first;
    while !over.load(Ordering::SeqCst) {
        say(&Line::Begin { seq, at: now() })?;
        let (outcome, text) = attempt(&mut connection, database, &pace, seq);
        say(&Line::End {
            at: now(),
            outcome,
            text,
        })?;
        seq += 1;
        thread::sleep(Duration::from_millis(pace.pause_ms));
    }
    Ok(())
}

fn say(line: &Line) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, line)?;
    writeln!(output)?;
    output.flush()?;
    Ok(())
}

/// A connection is kept as applications keep it: through changes of the role. Only what no application would go on with
/// after it ends it.
fn attempt(
    kept: &mut Option<Connection>,
    database: &Path,
    pace: &Pace,
    seq: u32,
) -> (Outcome, String) {
    if kept.is_none() {
        match open(database, pace) {
            Ok(connection) => *kept = Some(connection),
            Err(error) => return (Outcome::Refused, format!("open: {error}")),
        }
    }
    let connection = kept.as_ref().expect("opened above");
    match insert(connection, pace, seq) {
        Ok(()) => (Outcome::Acknowledged, String::new()),
        Err((outcome, error)) => {
            if !is_patient(&error) {
                *kept = None;
            }
            (outcome, error.to_string())
        }
    }
}

/// Each second write is a transaction of several statements.
fn insert(
    connection: &Connection,
    pace: &Pace,
    seq: u32,
) -> Result<(), (Outcome, rusqlite::Error)> {
    let sql = "INSERT INTO history(node, seq, filler) VALUES (?1, ?2, randomblob(?3))";
    let values = (pace.node, seq, pace.filler);
    let decided = |error: rusqlite::Error| (outcome_of(&error), error);
    if seq.is_multiple_of(2) {
        return connection.execute(sql, values).map(drop).map_err(decided);
    }
    let before_the_end = |error| (Outcome::Refused, error);
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(before_the_end)?;
    let result = match connection.execute(sql, values) {
        Ok(_) => connection.execute_batch("COMMIT").map_err(decided),
        Err(error) => Err(before_the_end(error)),
    };
    if result.is_err() {
        // SQLite may have done it already.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}

/// What an error says about the transaction that met it at its end. A disk that fails says nothing.
fn outcome_of(error: &rusqlite::Error) -> Outcome {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::Unknown,
        ) => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

fn is_patient(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ReadOnly)
    )
}
