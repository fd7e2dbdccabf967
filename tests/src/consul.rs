//! A real Consul: one agent, which is the server as well, on ports of its own.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use reqwest::blocking::{Client, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::http::http_client;
use crate::listener::free_port;
use crate::network::Host;
use crate::process::{TAG, kill_tagged, signal, wait_for};
use crate::requirement::consul_binary;
use crate::stage::Stage;
use crate::until::until;

/// From the start of the process until it takes writes.
const USABLE: Duration = Duration::from_secs(40);
/// From a signal to the end.
const ENDED: Duration = Duration::from_secs(20);
/// For one request. Blocking queries are the product's business, not ours.
const ANSWER: Duration = Duration::from_secs(10);

/// A Consul of a test. Dropping it kills it.
#[derive(Debug)]
pub struct Consul {
    home: PathBuf,
    tag: String,
    host: Option<Host>,
    ports: Ports,
    keeps: bool,
    process: Option<Child>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    server: u16,
    serf: u16,
}

/// A key in `GET /v1/kv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// Its value.
    pub value: String,
    /// The session that holds its lock.
    pub session: Option<String>,
    /// The version of the key.
    pub modify_index: u64,
}

impl Consul {
    /// An agent that forgets everything when it ends (`-dev`), on the loopback, ready; none where there is no Consul.
    #[track_caller]
    pub fn start_dev(stage: &Stage) -> Option<Consul> {
        Consul::start(stage, None, false)
    }

    /// An agent that keeps its data over [`Consul::stop`] and [`Consul::restart`], on the loopback, ready.
    #[track_caller]
    pub fn start_durable(stage: &Stage) -> Option<Consul> {
        Consul::start(stage, None, true)
    }

    /// As one of these, in a host of a network or on the loopback of this machine.
    #[track_caller]
    pub fn start(stage: &Stage, host: Option<&Host>, keeps: bool) -> Option<Consul> {
        consul_binary()?;
        let home = stage.directory().join("consul");
        fs::create_dir_all(&home).expect("the directory of a stage is ours");
        let mut consul = Consul {
            home,
            tag: format!("{}-consul", stage.tag()),
            host: host.cloned(),
            ports: Ports {
                http: free_port(),
                server: free_port(),
                serf: free_port(),
            },
            keeps,
            process: None,
        };
        consul.restart();
        Some(consul)
    }

    /// Its URL for nodes, which may be in other hosts.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.address(), self.ports.http)
    }

    /// Starts it again on the same ports, and waits until it takes writes: wiped or with its data.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "consul is running");
        let mut command = self.command();
        let child = in_host(self.host.as_ref(), move || command.spawn());
        self.process = Some(child.expect("consul runs"));
        let what = "consul takes writes";
        until(USABLE, what, || {
            let running = self.process.as_mut().expect("it was started");
            let ended = running.try_wait().expect("the process is our child");
            assert!(
                ended.is_none(),
                "consul has ended: {ended:?}\n{}",
                self.log()
            );
            self.try_put("harness/usable", "yes")
        });
        self.delete("harness/usable");
    }

    /// Ends it with SIGTERM. `-dev` forgets everything with that.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Ends it with SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Forgets everything that it has kept. It must have ended.
    ///
    /// # Panics
    /// If its data cannot be removed.
    #[track_caller]
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "consul is running");
        let data = self.home.join("data");
        if data.exists() {
            fs::remove_dir_all(data).expect("the directory of a stage is ours");
        }
    }

    fn end(&mut self, how: Signal) {
        let mut process = self.process.take().expect("consul is running");
        signal(&process, how);
        wait_for(&mut process, ENDED, "consul ends");
    }

    /// Stops it where it is: connections stay and nothing answers, until [`Consul::resume`].
    #[track_caller]
    pub fn pause(&self) {
        let consul = self.running();
        signal(consul, Signal::SIGSTOP);
        // Until then its threads go on. It is not reaped here if it ended.
        let pid = Pid::from_raw(i32::try_from(consul.id()).expect("a process id fits"));
        let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let stopped = waitid(Id::Pid(pid), stopped);
        assert!(
            matches!(stopped, Ok(WaitStatus::Stopped(..))),
            "{stopped:?}"
        );
    }

    /// Ends [`Consul::pause`].
    #[track_caller]
    pub fn resume(&self) {
        signal(self.running(), Signal::SIGCONT);
    }

    /// A key; nothing if it is not there.
    ///
    /// # Panics
    /// If Consul does not answer.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.list(key)
            .into_iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// All keys that begin with `prefix`, ordered, with their values.
    ///
    /// # Panics
    /// If Consul does not answer.
    #[track_caller]
    pub fn get_all(&self, prefix: &str) -> Vec<(String, KeyValue)> {
        self.list(&format!("{prefix}?recurse=true"))
    }

    /// Sets a key, whoever holds it.
    ///
    /// # Panics
    /// If Consul does not take it.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        assert!(self.try_put(key, value), "consul takes {key}");
    }

    /// Deletes a key, whoever holds it.
    ///
    /// # Panics
    /// If Consul does not do it.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        let url = self.kv(key);
        let deleted = self.ask(move |client| client.delete(url).send()?.text());
        assert_eq!(deleted.map_err(drop).as_deref().map(str::trim), Ok("true"));
    }

    /// The ids of all sessions.
    ///
    /// # Panics
    /// If Consul does not answer.
    #[track_caller]
    pub fn sessions(&self) -> Vec<String> {
        let url = format!("{}/v1/session/list", self.own_url());
        let list: Vec<Value> = self
            .ask(move |client| client.get(url).send()?.json())
            .expect("consul answers");
        let ids = list.iter().filter_map(|session| session["ID"].as_str());
        ids.map(str::to_owned).collect()
    }

    /// Destroys a session, as an operator may.
    ///
    /// # Panics
    /// If Consul does not do it.
    #[track_caller]
    pub fn destroy_session(&self, id: &str) {
        let url = format!("{}/v1/session/destroy/{id}", self.own_url());
        self.ask(move |client| client.put(url).send()?.error_for_status())
            .expect("consul destroys the session");
    }

    /// What it wrote since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn list(&self, path: &str) -> Vec<(String, KeyValue)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry {
            key: String,
            value: Option<String>,
            session: Option<String>,
            modify_index: u64,
        }
        let url = self.kv(path);
        let entries: Option<Vec<Entry>> = self
            .ask(move |client| {
                let response = client.get(url).send()?;
                if response.status().as_u16() == 404 {
                    return Ok(None);
                }
                response.error_for_status()?.json().map(Some)
            })
            .expect("consul answers");
        let entries = entries.unwrap_or_default().into_iter().map(|entry| {
            let value = KeyValue {
                value: base64(&entry.value.unwrap_or_default()),
                session: entry.session,
                modify_index: entry.modify_index,
            };
            (entry.key, value)
        });
        entries.collect()
    }

    fn try_put(&self, key: &str, value: &str) -> bool {
        let (url, value) = (self.kv(key), value.to_owned());
        let put = self.ask(move |client| {
            let response = client.put(url).body(value).send();
            response.and_then(Response::error_for_status)?.text()
        });
        put.is_ok_and(|text| text.trim() == "true")
    }

    fn ask<T: Send>(
        &self,
        request: impl FnOnce(Client) -> reqwest::Result<T> + Send,
    ) -> reqwest::Result<T> {
        in_host(self.host.as_ref(), || request(http_client(ANSWER)))
    }

    fn kv(&self, key: &str) -> String {
        format!("{}/v1/kv/{key}", self.own_url())
    }

    /// By its own loopback: what is cut between hosts is no matter.
    fn own_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    fn address(&self) -> Ipv4Addr {
        self.host
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, Host::address)
    }

    #[track_caller]
    fn running(&self) -> &Child {
        self.process.as_ref().expect("consul is running")
    }

    fn command(&self) -> Command {
        let binary: &Path = consul_binary().expect("it was there when this was made");
        let log = File::create(self.home.join("log")).expect("the directory of a stage is ours");
        let mut command = Command::new(binary);
        command.arg("agent");
        if self.keeps {
            let data = self.home.join("data");
            command
                .args(["-server", "-bootstrap-expect=1", "-data-dir"])
                .arg(data);
            // As fast to elect itself as `-dev` is.
            command.args(["-hcl", "performance { raft_multiplier = 1 }"]);
        } else {
            command.arg("-dev");
        }
        let client = if self.host.is_some() {
            "0.0.0.0"
        } else {
            "127.0.0.1"
        };
        let address = self.address();
        command
            .args([format!("-client={client}"), format!("-bind={address}")])
            .arg("-node=consul")
            .arg(format!("-http-port={}", self.ports.http))
            .arg(format!("-server-port={}", self.ports.server))
            .arg(format!("-serf-lan-port={}", self.ports.serf))
            .args(["-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1"])
            .args([
                "-grpc-tls-port=-1",
                "-log-level=warn",
                "-disable-host-node-id",
            ])
            .args(["-hcl", "disable_update_check = true"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("duplicate a descriptor"))
            .stderr(log)
            .env(TAG, &self.tag);
        command
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(20);
            let tail: Vec<_> = log.lines().skip(skipped).collect();
            eprintln!(
                "--- consul, last lines of its log\n{}\n---",
                tail.join("\n")
            );
        }
        kill_tagged(&self.tag);
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// In a host of a network, or here.
pub(crate) fn in_host<T: Send>(host: Option<&Host>, work: impl FnOnce() -> T + Send) -> T {
    match host {
        Some(host) => host.enter(work),
        None => work(),
    }
}

/// Decodes base64 (RFC 4648, with padding). What is no base64 is left out.
fn base64(text: &str) -> String {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for value in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_read_with_every_padding() {
        for (text, expected) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("8J+Yig==", "😊"),
        ] {
            assert_eq!(base64(text), expected);
        }
    }
}
