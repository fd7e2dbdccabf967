//! A client as the driver holds it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde::de::DeserializeOwned;

use crate::client::{GO, READY};

/// A client that is ready. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a client and waits until it is ready.
    pub(crate) fn ready(
        command: &str,
        database: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Worker> {
        let mut process = Command::new(std::env::current_exe()?);
        process
            .arg(command)
            .arg(database)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process.spawn()?;
        let input = child.stdin.take().context("standard input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("standard output is a pipe")?);
        let mut worker = Worker {
            child,
            input,
            output,
        };
        let line = worker
            .line()
            .with_context(|| format!("{command} {}", database.display()))?;
        anyhow::ensure!(line.trim() == READY, "{command} said {line:?}");
        Ok(worker)
    }

    /// Runs a client that needs no start.
    pub(crate) fn run(command: &str, database: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let status = Command::new(std::env::current_exe()?)
            .arg(command)
            .arg(database)
            .args(arguments)
            .status()?;
        anyhow::ensure!(
            status.success(),
            "{command} {} ended with {status}",
            database.display()
        );
        Ok(())
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) -> anyhow::Result<()> {
        self.tell(GO)
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").context("the client listens")
    }

    /// Waits for what came of it.
    pub(crate) fn finish<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).context("the client answers in JSON")
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        anyhow::ensure!(
            !line.is_empty(),
            "the client has ended: {}",
            self.child.wait()?
        );
        Ok(line)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
