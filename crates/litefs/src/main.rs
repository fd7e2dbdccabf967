//! LiteFS: SQLite databases in a mounted directory, replicated live to other machines.
//!
//! Purpose: put the parts of a node together and give them a command line. The databases are `store`'s, the mount
//! is `fuse`'s, the stream is `replication`'s, the API is `http_api`'s; who is the primary is `lease`'s. Here are
//! the configuration, the order in which a node starts and stops, the clients of the API, and `litefs dev`.
//!
//! Invariants:
//!
//! * Whatever ends a command, what it began is undone: no mount, no process, no half file stays behind.
//! * An error is one sentence on standard error, after `ERROR: `, and a status that is not 0.
//! * Nothing that the user wrote, as a flag or in the configuration, is silently ignored.
//!
//! What this crate must not know: SQLite's locks and logs, LTX, FUSE requests, the messages of the stream.

mod api_client;
mod cli;
mod commands;
mod config;
mod guard;
mod host;
mod logging;
mod node;
mod parent;
mod prefault;
mod signals;

use std::io::Write as _;
use std::process::ExitCode;

use cli::{Invocation, Refusal};
use commands::{aside, dev, export, import, leadership, load, mount, upgrade, version};

#[global_allocator]
static ALLOCATOR: prefault::Allocator = prefault::Allocator;

fn main() -> ExitCode {
    let outcome = match cli::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => run(invocation),
        Err(Refusal::Usage(text)) => {
            say(&text);
            return ExitCode::from(2);
        }
        Err(Refusal::Wrong { message, status }) => {
            eprintln!("ERROR: {message}");
            return ExitCode::from(status);
        }
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

fn run(invocation: Invocation) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match invocation {
        Invocation::Mount(args) => guard::run(args),
        Invocation::Worker(descriptor, args) => mount::run(descriptor, &args),
        Invocation::Import(transfer) => on_this_thread(import::run(transfer)).map(done),
        Invocation::Export(transfer) => on_this_thread(export::run(transfer)).map(done),
        Invocation::Promote(args) => on_this_thread(leadership::promote(&args)).map(done),
        Invocation::Handoff(args) => on_this_thread(leadership::hand_off(&args)).map(done),
        Invocation::Aside(args) => aside::run(args).map(done),
        Invocation::Upgrade(args) => upgrade::run(&args).map(done),
        Invocation::Dev(args) => on_this_thread(dev::run(args)),
        Invocation::LoadWriter(args) => load::write(&args).map(done),
        Invocation::LoadReader(args) => load::read(&args).map(done),
        Invocation::Watcher => guard::watch(),
        Invocation::Version => {
            say(&format!("{}\n", version::line()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command that has nothing to do at the same time as something else.
fn on_this_thread<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

/// Prints to standard output, which may be closed already.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints an error with its causes, in one line.
fn complain(error: &anyhow::Error) {
    eprintln!("ERROR: {error:#}");
}
