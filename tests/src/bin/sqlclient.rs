//! A SQLite client in a process of its own: the applications of the end-to-end tests.
//!
//! - `session DB [read-only|create]`: statements from standard input, one JSON string a line; answers as JSON lines.
//! - `workload DB …`: the transactions of the ledger; prints what came of them.
//! - `watch DB [read-only]`: reads the ledger over and over until standard input ends; prints what it saw.
//! - `record DB …`: writes all the time until standard input ends; prints what came of each write.
//! - `observe DB …`: reads all the time until standard input ends; prints what it saw.
//! - `digest DB`: prints a digest of the content.

use std::path::Path;

use anyhow::Context;
use harness::client::{run_digest, run_session, run_watch, run_workload};
use harness::history::{run_observer, run_recorder};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (command, database, rest) = match words.as_slice() {
        [command, database, rest @ ..] => (*command, Path::new(*database), rest),
        _ => anyhow::bail!("expected a command and a database"),
    };
    match command {
        "session" => run_session(database, rest.first().copied()),
        "workload" => run_workload(database, rest.first().context("the workload is missing")?),
        "watch" => run_watch(database, rest.first().copied()),
        "record" => run_recorder(database, rest.first().context("the pace is missing")?),
        "observe" => run_observer(database, rest.first().context("the pace is missing")?),
        "digest" => run_digest(database),
        other => anyhow::bail!("no command: {other}"),
    }
}
