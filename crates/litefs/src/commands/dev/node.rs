//! One node: its directory, its configuration and its process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use super::child::{self, Process};
use super::mounts;
use crate::commands::mount;

/// How long a node may take to come up.
const START: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(15);

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Base URL of its API.
    pub(super) url: String,
    directory: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Makes the directory and writes the configuration of the node `name`; `primary` is the name and URL of the
    /// primary, possibly its own.
    pub(super) fn prepare(
        home: &Path,
        name: &str,
        port: u16,
        primary: (&str, &str),
    ) -> anyhow::Result<Node> {
        let directory = home.join(name);
        let node = Node {
            name: name.to_owned(),
            url: format!("http://127.0.0.1:{port}"),
            directory,
            running: None,
        };
        fs::create_dir_all(&node.directory)
            .with_context(|| format!("create {}", node.directory.display()))?;
        let path = node.config_path();
        fs::write(&path, node.config(port, primary)?)
            .with_context(|| format!("write {}", path.display()))?;
        Ok(node)
    }

    /// The directory to open databases in.
    pub(super) fn mount(&self) -> PathBuf {
        self.directory.join("mnt")
    }

    /// What it says.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("litefs.log")
    }

    fn config_path(&self) -> PathBuf {
        self.directory.join("litefs.yml")
    }

    fn config(&self, port: u16, (hostname, url): (&str, &str)) -> anyhow::Result<String> {
        // A JSON string is a YAML string.
        let quoted = |path: PathBuf| {
            let text = path
                .to_str()
                .ok_or_else(|| anyhow!("{} is not UTF-8: give another --dir", path.display()))?;
            anyhow::Ok(serde_json::to_string(text)?)
        };
        let (mount, data) = (quoted(self.mount())?, quoted(self.directory.join("data"))?);
        let candidate = hostname == self.name;
        Ok(format!(
            "# Written by `litefs dev`.\nfuse:\n  dir: {mount}\ndata:\n  dir: {data}\nhttp:\n  \
             addr: 127.0.0.1:{port}\nlease:\n  type: static\n  candidate: {candidate}\n  hostname: {hostname}\n  \
             advertise-url: {url}\nlog:\n  timestamp: true\n"
        ))
    }

    /// Starts the process.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let log =
            File::create(self.log()).with_context(|| format!("create {}", self.log().display()))?;
        let mut command = child::this_program()?;
        command
            .args(["mount", "-no-expand-env", "-config"])
            .arg(self.config_path());
        command.env("HOSTNAME", &self.name).stderr(log);
        let (process, stdout) = Process::spawn(command)?;
        self.running = Some(Running {
            process,
            output: BufReader::new(stdout).lines(),
        });
        Ok(())
    }

    /// Waits until the node says that it is ready.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.as_mut() else {
            bail!("{} was not started", self.name)
        };
        let said = async {
            while let Ok(Some(line)) = running.output.next_line().await {
                if line.starts_with(mount::READY) {
                    return true;
                }
            }
            false
        };
        match timeout(START, said).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let status = running.process.ended().await;
                Err(self.failure(status))
            }
            Err(_) => {
                let seconds = START.as_secs();
                let said = self.last_words();
                Err(anyhow!(
                    "{} is not ready after {seconds} s: {said}",
                    self.name
                ))
            }
        }
    }

    /// Waits until the process ends by itself, and says why.
    pub(super) async fn ended(&self) -> anyhow::Error {
        match &self.running {
            Some(running) => self.failure(running.process.ended().await),
            None => std::future::pending().await,
        }
    }

    /// Why it ended: what it said, and how it ended if that is not its own doing.
    fn failure(&self, status: Option<ExitStatus>) -> anyhow::Error {
        let (name, said) = (&self.name, self.last_words());
        match status.filter(|status| status.code().is_none()) {
            Some(status) => anyhow!("{name} ended with {status}; it said last: {said}"),
            None => anyhow!("{name} ended: {said}"),
        }
    }

    /// The last error in its log, which may have several lines; if there is none, its last line.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let error = log.rsplit_once("ERROR: ").map(|(_, text)| text.trim_end());
        let said = error.or_else(|| log.lines().last()).unwrap_or("nothing");
        said.to_owned()
    }

    /// Asks the process to stop, waits for that, and makes sure that it is gone and its mount too.
    pub(super) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.process.signal(Signal::SIGTERM);
            if timeout(STOP, running.process.ended()).await.is_err() {
                eprintln!("{} does not stop, killing it", self.name);
                running.process.signal(Signal::SIGKILL);
                // A process that holds its own mount can outlive even this.
                mounts::unmount(&self.mount());
                let _ = timeout(STOP, running.process.ended()).await;
            }
        }
        if mounts::is_mounted(&self.mount()) {
            mounts::unmount(&self.mount());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_that_is_written_can_be_read() {
        let home =
            std::env::temp_dir().join(format!("litefs \"dev\": {:08x}", rand::random::<u32>()));
        let primary = ("node1", "http://127.0.0.1:1");
        for (name, is_primary) in [("node1", true), ("node2", false)] {
            let node = Node::prepare(&home, name, 7, primary).unwrap();
            let (config, _) = Config::load(Some(&node.config_path()), false).unwrap();
            assert_eq!(config.fuse.dir, node.mount());
            assert_eq!(config.data.dir, home.join(name).join("data"));
            assert_eq!(config.lease.candidate, is_primary);
            assert_eq!(config.http.addr.to_string(), "127.0.0.1:7");
        }
        fs::remove_dir_all(&home).unwrap();
    }
}
