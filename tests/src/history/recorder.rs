//! The processes of applications, as a test holds them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::event::{Line, Outcome, Read, Write, WriteId};
use super::record::Pace;
use crate::binary::client_binary;
use crate::process::TAG;
use crate::until::{until, within};

/// A client that was told to end, does; one that waits for a dead mount is killed.
const ENDED: Duration = Duration::from_secs(5);

/// A process whose lines are collected as they come.
#[derive(Debug)]
struct Source<T> {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<T>>>,
    complete: Arc<Mutex<()>>,
}

impl<T: DeserializeOwned + Clone + Send + 'static> Source<T> {
    fn start(tag: &str, command: &str, database: &Path, pace: &Pace) -> Source<T> {
        let description = serde_json::to_string(pace).expect("a pace is JSON");
        let mut child = Command::new(client_binary())
            .arg(command)
            .arg(database)
            .arg(description)
            .env(TAG, tag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("standard output is a pipe");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let complete = Arc::new(Mutex::new(()));
        let (into, busy) = (lines.clone(), complete.clone());
        let (started, starts) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let _busy = busy.lock();
            let _ = started.send(());
            for line in BufReader::new(output).lines() {
                // A process that is killed may leave half a line.
                let Some(line) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
                    break;
                };
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let _ = starts.recv();
        Source {
            child,
            input,
            lines,
            complete,
        }
    }

    fn lines(&self) -> Vec<T> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, which: impl FnMut(&&T) -> bool) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(which).count()
    }

    fn end(mut self) -> Vec<T> {
        drop(self.input.take());
        let ended = within(ENDED, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            // It may still not end while it waits for its mount; what it has said is all there is.
            let _ = self.child.kill();
            let _ = within(ENDED, || self.child.try_wait().ok().flatten());
        }
        let _ = within(ENDED, || self.complete.try_lock().ok().map(drop));
        self.lines()
    }

    fn kill(mut self) -> Vec<T> {
        let _ = self.child.kill();
        self.end()
    }
}

/// An application that writes. Dropping it leaves its process to the stage.
#[derive(Debug)]
pub struct Recorder {
    source: Source<Line>,
    node: u32,
}

impl Recorder {
    /// Starts to write into `database`, which is in the mount of the node that `pace` names. `tag` is that of the stage.
    pub fn start(tag: &str, database: &Path, pace: &Pace) -> Recorder {
        Recorder {
            source: Source::start(tag, "record", database, pace),
            node: pace.node,
        }
    }

    /// What was tried so far.
    pub fn writes(&self) -> Vec<Write> {
        writes(self.node, self.source.lines())
    }

    /// Waits until so many writes more were acknowledged.
    #[track_caller]
    pub fn await_acknowledged(&self, more: usize, deadline: Duration) {
        let wanted = self.acknowledged() + more;
        let what = format!("writes on node{} are acknowledged", self.node);
        until(deadline, &what, || self.acknowledged() >= wanted);
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let is_acknowledged = |line: &&Line| {
            matches!(
                line,
                Line::End {
                    outcome: Outcome::Acknowledged,
                    ..
                }
            )
        };
        self.source.count(is_acknowledged)
    }

    /// Ends it after the write it is at.
    pub fn finish(self) -> Vec<Write> {
        writes(self.node, self.source.end())
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(self) -> Vec<Write> {
        writes(self.node, self.source.kill())
    }
}

/// An application that reads.
#[derive(Debug)]
pub struct Observer(Source<Read>);

impl Observer {
    /// Starts to read `database`, which is in the mount of the node that `pace` names. `tag` is that of the stage.
    pub fn start(tag: &str, database: &Path, pace: &Pace) -> Observer {
        Observer(Source::start(tag, "observe", database, pace))
    }

    /// What was read so far.
    pub fn reads(&self) -> Vec<Read> {
        self.0.lines()
    }

    /// Ends it.
    pub fn finish(self) -> Vec<Read> {
        self.0.end()
    }
}

/// A write that began and did not end may have happened.
fn writes(node: u32, lines: Vec<Line>) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    for line in lines {
        match (line, writes.last_mut()) {
            (Line::Begin { seq, at }, _) => writes.push(Write {
                id: WriteId { node, seq },
                before: at,
                after: u64::MAX,
                outcome: Outcome::Unknown,
                text: "no answer".to_owned(),
            }),
            (Line::End { at, outcome, text }, Some(write)) => {
                (write.after, write.outcome, write.text) = (at, outcome, text);
            }
            (Line::End { .. }, None) => {}
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_without_an_answer_is_unknown() {
        let end = Line::End {
            at: 2,
            outcome: Outcome::Acknowledged,
            text: String::new(),
        };
        let lines = vec![
            Line::Begin { seq: 7, at: 1 },
            end,
            Line::Begin { seq: 8, at: 3 },
        ];
        let writes = writes(1, lines);
        assert_eq!(writes[0].outcome, Outcome::Acknowledged);
        assert_eq!((writes[0].before, writes[0].after), (1, 2));
        assert_eq!(writes[1].outcome, Outcome::Unknown);
        assert_eq!((writes[1].id.seq, writes[1].after), (8, u64::MAX));
    }
}
