//! The ledger's transactions from several connections of one process.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::open::{Access, open};
use crate::client::peer::Peer;
use crate::ledger::{End, JournalMode, Synchronous, Writer, create};

/// What an application does between two transactions.
const THOUGHT: Duration = Duration::from_millis(2);
/// The same in the rollback modes: SQLite looks for a free lock at most every 100 ms, so that others hardly ever get
/// one if it is free for moments only.
const LONG_THOUGHT: Duration = Duration::from_millis(12);

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    /// `PRAGMA journal_mode` of each connection, as a word.
    pub journal_mode: String,
    /// `PRAGMA synchronous`, as a word.
    pub synchronous: String,
    /// Bytes of a page.
    pub page_size: u32,
    /// Decides what the transactions are.
    pub seed: u64,
    /// How many connections, each on a thread.
    pub connections: u32,
    /// How many transactions each connection does.
    pub transactions: u32,
    /// Whether the tables are made first.
    pub create: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Transactions that changed the database: as many TXIDs.
    pub commits: u64,
    /// Transactions undone: in the rollback modes at most as many TXIDs.
    pub rollbacks: u64,
    /// What SQLite said that it should not have.
    pub errors: Vec<String>,
}

impl Workload {
    /// A workload of two connections, 300 transactions together, that makes its tables.
    pub fn new(journal_mode: JournalMode, page_size: u32, seed: u64) -> Workload {
        Workload {
            journal_mode: journal_mode.to_string(),
            synchronous: Synchronous::Normal.to_string(),
            page_size,
            seed,
            connections: 2,
            transactions: 150,
            create: true,
        }
    }

    /// The same with another `PRAGMA synchronous`.
    pub fn synchronous(self, level: Synchronous) -> Workload {
        Workload {
            synchronous: level.to_string(),
            ..self
        }
    }

    /// The same with that many transactions per connection.
    pub fn transactions(self, transactions: u32) -> Workload {
        Workload {
            transactions,
            ..self
        }
    }

    /// The same with that many connections.
    pub fn connections(self, connections: u32) -> Workload {
        Workload {
            connections,
            ..self
        }
    }

    /// More of it, with another seed, in tables that are there.
    pub fn more(self, seed: u64) -> Workload {
        Workload {
            create: false,
            seed,
            ..self
        }
    }

    /// Only the tables.
    pub fn tables_only(&self) -> Workload {
        Workload {
            create: true,
            transactions: 0,
            ..self.clone()
        }
    }

    /// Starts it on `database` in another process. `tag` is that of the stage.
    pub fn start(&self, tag: &str, database: &Path) -> Running {
        let description = serde_json::to_string(self).expect("a workload is JSON");
        Running(Peer::start(tag, "workload", database, &[&description]))
    }

    /// Runs it to its end, without errors.
    #[track_caller]
    pub fn run(&self, tag: &str, database: &Path) -> Outcome {
        self.start(tag, database).succeed()
    }

    fn thought(&self) -> Duration {
        if self.journal_mode == "wal" {
            THOUGHT
        } else {
            LONG_THOUGHT
        }
    }

    fn writer(&self, database: &Path, number: u32) -> anyhow::Result<Writer> {
        let connection = open(database, Access::ReadWrite)?;
        connection.pragma_update_and_check(None, "journal_mode", &self.journal_mode, |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", &self.synchronous)?;
        // The log begins anew many times, in different places for different connections.
        connection.query_row(
            &format!("PRAGMA wal_autocheckpoint = {}", 40 + 60 * number),
            [],
            |_| Ok(()),
        )?;
        if number == 0 {
            connection.pragma_update(None, "cache_size", 10)?;
        }
        let seed = self.seed.wrapping_mul(1000).wrapping_add(u64::from(number));
        Ok(Writer::new(connection, seed, self.page_size))
    }
}

/// A workload in another process.
#[derive(Debug)]
pub struct Running(Peer);

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        serde_json::from_str(&self.0.receive()).expect("the client answers in JSON")
    }

    /// Waits for its end; it must have met no error.
    #[track_caller]
    pub fn succeed(self) -> Outcome {
        let outcome = self.finish();
        assert!(
            outcome.errors.is_empty(),
            "the workload met errors: {:?}",
            outcome.errors
        );
        outcome
    }

    /// Whether it is over.
    pub fn ended(&mut self) -> bool {
        self.0.ended()
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(mut self) {
        self.0.kill();
    }
}

/// The client's side. SQLite's errors are part of the outcome; the first one ends a connection's work.
///
/// # Errors
/// When the description is no workload.
pub fn run_workload(database: &Path, description: &str) -> anyhow::Result<()> {
    let workload: Workload = serde_json::from_str(description)?;
    let outcome = match prepare(&workload, database) {
        Ok(writers) => run(writers, workload.transactions, workload.thought()),
        Err(error) => Outcome {
            errors: vec![format!("at the start: {error:#}")],
            ..Outcome::default()
        },
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn prepare(workload: &Workload, database: &Path) -> anyhow::Result<Vec<Writer>> {
    if workload.create {
        create(
            &open(database, Access::Create)?,
            workload.journal_mode.parse()?,
            workload.page_size,
        )?;
    }
    (0..workload.connections)
        .map(|number| workload.writer(database, number))
        .collect()
}

fn run(writers: Vec<Writer>, transactions: u32, thought: Duration) -> Outcome {
    let threads: Vec<_> = writers
        .into_iter()
        .map(|writer| thread::spawn(move || run_writer(writer, transactions, thought)))
        .collect();
    let mut whole = Outcome::default();
    for thread in threads {
        let part = thread.join().expect("a writer does not panic");
        whole.commits += part.commits;
        whole.rollbacks += part.rollbacks;
        whole.errors.extend(part.errors);
    }
    whole
}

fn run_writer(mut writer: Writer, transactions: u32, thought: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    for _ in 0..transactions {
        thread::sleep(thought);
        match writer.transact() {
            Ok(End::Committed) => outcome.commits += 1,
            Ok(End::Unchanged) => {}
            Ok(End::RolledBack) => outcome.rollbacks += 1,
            Err(error) => {
                outcome.errors.push(format!("{error:?}"));
                break;
            }
        }
    }
    outcome
}
