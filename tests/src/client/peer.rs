//! The process of a client, as a test holds it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::binary::client_binary;
use crate::process::TAG;

/// A running client. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `command` of the client on `database`. `tag` is that of the stage.
    pub(crate) fn start(tag: &str, command: &str, database: &Path, arguments: &[&str]) -> Peer {
        let mut process = Command::new(client_binary());
        process.arg(command).arg(database).args(arguments);
        Peer::spawn(tag, process)
    }

    /// Starts any process that speaks over its standard input and output.
    pub(crate) fn spawn(tag: &str, mut process: Command) -> Peer {
        process
            .env(TAG, tag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = process.spawn().expect("the client runs");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        Peer {
            child,
            input,
            output,
        }
    }

    /// Sends a line.
    #[track_caller]
    pub(crate) fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        writeln!(input, "{line}").expect("the client listens");
    }

    /// Waits for a line. The watchdog of the stage ends this if the client hangs.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("the client answers");
        assert!(
            !line.is_empty(),
            "the client has ended without an answer: {:?}",
            self.child.wait()
        );
        line
    }

    /// Tells it that there is nothing more to come.
    pub(crate) fn close(&mut self) {
        drop(self.input.take());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) {
        let status = self.child.wait().expect("the client is our child");
        assert!(status.success(), "the client ended with {status}");
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}
