//! Other people's programs, as they are installed: commands that come to an end, and services on the loopback interface.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::blocking::{Client, RequestBuilder};

use crate::http::http_client;
use crate::process::{Ended, TAG, kill_tagged, processes_tagged, signal, wait_for};
use crate::stage::Stage;
use crate::until::until;

/// From the start of a service to its first connection, Python's start on a busy machine included.
const LISTENS: Duration = Duration::from_secs(30);
/// From SIGTERM to the end of a service.
const ENDED: Duration = Duration::from_secs(20);
/// A request takes no longer than this.
const ANSWER: Duration = Duration::from_secs(60);

/// Runs a command to its end. The watchdog of the stage ends it if it hangs.
pub fn run_to_end(stage: &Stage, mut command: Command) -> Ended {
    command.env(TAG, stage.tag()).stdin(Stdio::null());
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status,
        output: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// A program that serves until it is stopped, with all processes that it starts. Dropping it kills them.
#[derive(Debug)]
pub struct Service {
    name: String,
    tag: String,
    log: PathBuf,
    process: Child,
}

impl Service {
    /// Starts `command` and waits until something listens on `port`.
    #[track_caller]
    pub fn start(stage: &Stage, name: &str, port: u16, mut command: Command) -> Service {
        let tag = format!("{}-{name}", stage.tag());
        let log = stage.directory().join(format!("{name}.log"));
        let output = File::create(&log).expect("the directory of a stage is ours");
        command
            .env(TAG, &tag)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("duplicate a descriptor"))
            .stderr(output);
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut service = Service {
            name: name.to_owned(),
            tag,
            log,
            process,
        };
        until(LISTENS, &format!("{name} listens"), || {
            let ended = service.process.try_wait().expect("our child");
            assert!(ended.is_none(), "{name} has ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        service
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks it to end, and waits until it has, with all its processes.
    #[track_caller]
    pub fn stop(mut self) {
        signal(&self.process, Signal::SIGTERM);
        let what = format!("{} ends after SIGTERM", self.name);
        wait_for(&mut self.process, ENDED, &what);
        until(ENDED, &what, || processes_tagged(&self.tag).is_empty());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}\n---", self.name, self.log());
        }
        kill_tagged(&self.tag);
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a web application answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If the request has failed or the body is something else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert!(
            (200..300).contains(&self.status),
            "status {}: {}",
            self.status,
            self.text
        );
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// A client of a web application on this machine. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Web {
    url: String,
    client: Client,
}

impl Web {
    /// A client of what listens on `port`.
    pub fn new(port: u16) -> Web {
        Web {
            url: format!("http://127.0.0.1:{port}"),
            client: http_client(ANSWER),
        }
    }

    /// `GET` of a path.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        answer(self.client.get(format!("{}{path}", self.url)))
    }

    /// `POST` of a JSON text to a path.
    #[track_caller]
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        answer(self.client.post(format!("{}{path}", self.url)).json(body))
    }
}

#[track_caller]
fn answer(request: RequestBuilder) -> Answer {
    let response = request
        .send()
        .unwrap_or_else(|error| panic!("no answer: {error:?}"));
    let status = response.status().as_u16();
    let text = response
        .text()
        .unwrap_or_else(|error| panic!("half an answer: {error:?}"));
    Answer { status, text }
}
