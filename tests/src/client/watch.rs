//! A reader that looks at the ledger over and over and notes everything that it should not see.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::client::open::{Access, open};
use crate::client::peer::Peer;
use crate::ledger::{Fault, check};

/// Every so many reads the whole database is checked, and then the connection is opened anew.
const FULL_CHECK: u64 = 60;
/// Every so many reads the snapshot is held for a moment, so that transactions come in between.
const HOLD: u64 = 5;
/// That moment.
const HELD: Duration = Duration::from_millis(2);

/// The line that a client writes after its first good read.
const READING: &str = "reading";

/// What a reader saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatchReport {
    /// Good read transactions.
    pub reads: u64,
    /// In how many different states it saw the database.
    pub states: u64,
    /// SQLite's errors after the database was there for the first time, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Invariants that did not hold.
    pub violations: Vec<String>,
}

/// A reader in another process.
#[derive(Debug)]
pub struct Watch {
    peer: Peer,
    /// Whether its first good read was reported.
    reading: bool,
}

impl Watch {
    /// Starts to read `database`, which need not be there yet. `tag` is that of the stage.
    pub fn start(tag: &str, database: &Path, access: Access) -> Watch {
        Watch {
            peer: Peer::start(tag, "watch", database, &[access.word()]),
            reading: false,
        }
    }

    /// The same in Python, with the SQLite of the system.
    pub fn start_python(tag: &str, database: &Path, access: Access) -> Watch {
        let mut process = Command::new("python3");
        process
            .arg("-c")
            .arg(include_str!("../python/watch.py"))
            .arg(database)
            .arg(access.word());
        Watch {
            peer: Peer::spawn(tag, process),
            reading: false,
        }
    }

    /// Waits for its first good read: from now on it excuses nothing.
    #[track_caller]
    pub fn await_first_read(&mut self) {
        if !self.reading {
            assert_eq!(self.peer.receive().trim(), READING);
            self.reading = true;
        }
    }

    /// Ends it, after one more look at everything: what it saw.
    #[track_caller]
    pub fn finish(mut self) -> WatchReport {
        self.peer.close();
        let mut line = self.peer.receive();
        if line.trim() == READING {
            line = self.peer.receive();
        }
        serde_json::from_str(&line).expect("the client answers in JSON")
    }

    /// Ends it; it must have read often, and never have seen an error or half a transaction.
    #[track_caller]
    pub fn succeed(self) -> WatchReport {
        let report = self.finish();
        assert!(
            report.errors.is_empty() && report.violations.is_empty(),
            "a reader saw {report:?}"
        );
        assert!(report.reads > 0, "a reader never saw the database");
        report
    }
}

/// The client's side.
///
/// # Errors
/// When the arguments make no sense.
pub fn run_watch(database: &Path, access: Option<&str>) -> anyhow::Result<()> {
    let access = Access::from_word(access)?;
    let over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&over);
    thread::spawn(move || {
        // The end of standard input, or of the test, is the end.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::SeqCst);
    });
    let mut watcher = Watcher {
        database,
        access,
        last: -1,
        report: WatchReport::default(),
    };
    while !over.load(Ordering::SeqCst) {
        watcher.connection(|| over.load(Ordering::SeqCst));
    }
    let mut looks = 0..1;
    watcher.connection(|| looks.next().is_none());
    println!("{}", serde_json::to_string(&watcher.report)?);
    Ok(())
}

struct Watcher<'a> {
    database: &'a Path,
    access: Access,
    /// The highest tick so far.
    last: i64,
    report: WatchReport,
}

impl Watcher<'_> {
    /// Reads through one connection until it fails, was used for long enough, or it is `over`.
    fn connection(&mut self, mut over: impl FnMut() -> bool) {
        let mut connection = match open(self.database, self.access) {
            Ok(connection) => connection,
            Err(error) => return self.failed(&error),
        };
        for _ in 0..FULL_CHECK {
            if over() {
                break;
            }
            let hold = self.report.reads.is_multiple_of(HOLD);
            match check(&mut connection, self.report.reads, || {
                if hold {
                    thread::sleep(HELD)
                }
            }) {
                Ok(reading) => self.saw(reading.tick),
                Err(Fault::Sqlite(error)) => return self.failed(&error),
                Err(Fault::Violation(text)) => self.report.violations.push(text),
            }
        }
        self.full_check(&connection);
    }

    fn saw(&mut self, tick: i64) {
        self.report.reads += 1;
        if self.report.reads == 1 {
            println!("{READING}");
        }
        if tick < self.last {
            self.report
                .violations
                .push(format!("from transaction {} back to {tick}", self.last));
        }
        self.report.states += u64::from(tick > self.last);
        self.last = tick;
    }

    fn full_check(&mut self, connection: &Connection) {
        if self.report.reads == 0 {
            return;
        }
        match connection.query_row("PRAGMA quick_check", [], |row| row.get::<_, String>(0)) {
            Ok(text) if text == "ok" => {}
            Ok(text) => self.report.violations.push(text),
            Err(error) => self.failed(&error),
        }
    }

    /// Until the database was there for the first time it may be missing or have no tables.
    fn failed(&mut self, error: &rusqlite::Error) {
        let absent = error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
            || error.to_string().contains("no such table");
        if self.report.reads == 0 && absent {
            return thread::sleep(Duration::from_millis(5));
        }
        *self.report.errors.entry(format!("{error:?}")).or_default() += 1;
    }
}
