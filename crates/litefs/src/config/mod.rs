//! The configuration of `litefs mount`: LiteFS's `litefs.yml`, read strictly.
//!
//! An unknown key, a bad value, or a value that asks for something this build cannot do is refused with file,
//! line and column. Nothing that is written in the file is silently ignored.

pub(crate) mod diagnostic;
pub(crate) mod duration;
mod expand;
mod file;
mod find;
mod listen;
mod resolve;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lease::StaticLease;
use store::DbName;

pub(crate) use listen::ListenAddr;

use diagnostic::{Complaint, Diagnostic};

/// Everything that the file decides.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Whether an error during the start ends the process; otherwise it stays for a look at it.
    pub(crate) exit_on_error: bool,
    /// Whether a replica is ready before it has caught up with its primary for the first time.
    pub(crate) skip_sync: bool,
    pub(crate) fuse: Fuse,
    pub(crate) data: Data,
    pub(crate) http: Http,
    pub(crate) lease: Lease,
    pub(crate) log: Log,
}

/// The mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fuse {
    pub(crate) dir: PathBuf,
    pub(crate) allow_other: bool,
    pub(crate) debug: bool,
    pub(crate) passthrough: bool,
}

/// The data directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) dir: PathBuf,
    pub(crate) compress: bool,
    /// How long LTX files are kept; zero: for ever.
    pub(crate) retention: Duration,
    /// How often to look for those that are too old; zero: never.
    pub(crate) retention_interval: Duration,
    /// How long after one scrub the next one begins; zero: never.
    pub(crate) scrub_interval: Duration,
}

/// The API, which also carries the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) addr: ListenAddr,
}

/// Who is the primary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) store: LeaseStore,
    /// The name of this node, as others see it.
    pub(crate) hostname: String,
    /// The base URL of this node's API, as others reach it.
    pub(crate) advertise_url: String,
    /// Whether this node may become the primary.
    pub(crate) candidate: bool,
    /// Whether this node takes over once it is in sync.
    pub(crate) promote: bool,
    /// How long a node waits before it tries again to reach its primary, or the lease store.
    pub(crate) reconnect_delay: Duration,
    /// How long a primary that stepped down when it was told to does not become it again.
    pub(crate) demote_delay: Duration,
    /// The databases that a replica takes; empty: all.
    pub(crate) databases: Vec<DbName>,
}

/// Where the lease is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LeaseStore {
    /// In this file: the primary is fixed.
    Static(StaticLease),
    /// In Consul.
    Consul(Consul),
}

/// A lease in Consul.
#[derive(PartialEq, Eq)]
pub(crate) struct Consul {
    /// With the token and the prefix.
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) ttl: Duration,
    pub(crate) lock_delay: Duration,
}

impl std::fmt::Debug for Consul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL has a token in it.
        write!(
            f,
            "Consul({}, {:?}, {:?})",
            self.key, self.ttl, self.lock_delay
        )
    }
}

/// What is written to standard error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) timestamp: bool,
    pub(crate) debug: bool,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads the file at `path`, or the first one of the usual places; returns the path too.
    pub(crate) fn load(path: Option<&Path>, expand_env: bool) -> anyhow::Result<(Config, PathBuf)> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let path = match path {
            Some(path) => path.to_owned(),
            None => find::find(home.as_deref()).ok_or_else(|| {
                let searched = find::candidates(home.as_deref());
                let searched: Vec<_> = searched
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                anyhow!(
                    "config file not found: there is none of {}; name one with -config",
                    searched.join(", ")
                )
            })?,
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read config file {}", path.display()))?;
        let text = if expand_env {
            expand::expand(&text, environment)
        } else {
            text
        };
        Ok((Config::parse(&path, &text)?, path))
    }

    /// Reads the text of a file; `path` is only for the messages.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Diagnostic> {
        serde_saphyr::from_str(text)
            .map_err(Complaint::from)
            .and_then(resolve::resolve)
            .map_err(|complaint| complaint.in_file(path, text))
    }
}

/// A variable of the environment; `HOSTNAME` is always there, as in LiteFS.
fn environment(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.or_else(|| (name == "HOSTNAME").then(crate::host::hostname))
}
