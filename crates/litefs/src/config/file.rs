//! The configuration file as it is written: every key that LiteFS knows, and ours. What the values mean, and
//! which of them this build can do, is decided in [`super::resolve`].

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde_saphyr::Spanned;

use super::duration::GoDuration;

/// A value that may be missing or empty, with its place in the text.
pub(super) type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) fuse: Option<Fuse>,
    pub(super) data: Option<Data>,
    pub(super) http: Option<Http>,
    pub(super) lease: Option<Lease>,
    pub(super) log: Option<Log>,
    pub(super) exit_on_error: Option<bool>,
    pub(super) skip_sync: Option<bool>,
    pub(super) strict_verify: Key<bool>,
    pub(super) exec: Key<Exec>,
    pub(super) proxy: Option<Proxy>,
    pub(super) backup: Option<Backup>,
    pub(super) tracing: Option<Tracing>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fuse {
    pub(super) dir: Key<String>,
    pub(super) allow_other: Option<bool>,
    pub(super) debug: Option<bool>,
    pub(super) passthrough: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Data {
    pub(super) dir: Key<String>,
    pub(super) compress: Option<bool>,
    pub(super) retention: Option<GoDuration>,
    pub(super) retention_monitor_interval: Option<GoDuration>,
    pub(super) scrub_interval: Option<GoDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Http {
    pub(super) addr: Key<String>,
    pub(super) snapshot_timeout: Key<GoDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Lease {
    #[serde(rename = "type")]
    pub(super) kind: Key<String>,
    pub(super) hostname: Option<String>,
    pub(super) advertise_url: Key<String>,
    pub(super) candidate: Option<bool>,
    pub(super) promote: Option<bool>,
    pub(super) reconnect_delay: Key<GoDuration>,
    pub(super) demote_delay: Option<GoDuration>,
    pub(super) databases: Option<Vec<Spanned<String>>>,
    pub(super) consul: Option<Consul>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Consul {
    pub(super) url: Key<String>,
    pub(super) key: Key<String>,
    pub(super) ttl: Key<GoDuration>,
    pub(super) lock_delay: Option<GoDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Log {
    pub(super) format: Key<String>,
    pub(super) timestamp: Option<bool>,
    pub(super) debug: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Proxy {
    pub(super) addr: Option<String>,
    pub(super) target: Key<String>,
    pub(super) db: Option<String>,
    pub(super) max_lag: Option<GoDuration>,
    pub(super) debug: Option<bool>,
    pub(super) passthrough: Option<Vec<String>>,
    pub(super) always_forward: Option<Vec<String>>,
    pub(super) primary_redirect_timeout: Option<GoDuration>,
    pub(super) read_timeout: Option<GoDuration>,
    pub(super) read_header_timeout: Option<GoDuration>,
    pub(super) write_timeout: Option<GoDuration>,
    pub(super) idle_timeout: Option<GoDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Backup {
    #[serde(rename = "type")]
    pub(super) kind: Key<String>,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) auth_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Tracing {
    pub(super) enabled: Option<bool>,
    pub(super) path: Key<String>,
    pub(super) max_size: Option<u32>,
    pub(super) max_count: Option<u32>,
    pub(super) compress: Option<bool>,
}

/// `exec`: one command line, or a list of commands.
#[derive(Debug, Default)]
pub(super) struct Exec {
    pub(super) commands: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(
    dead_code,
    reason = "read for the check of its keys; commands are refused until they are supported"
)]
struct Command {
    #[serde(default)]
    cmd: String,
    #[serde(default)]
    if_candidate: bool,
}

impl<'de> Deserialize<'de> for Exec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exec, D::Error> {
        deserializer.deserialize_any(ExecVisitor)
    }
}

struct ExecVisitor;

impl<'de> Visitor<'de> for ExecVisitor {
    type Value = Exec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command line, or a list of `cmd: COMMAND LINE` with an optional `if-candidate: true`")
    }

    fn visit_unit<E>(self) -> Result<Exec, E> {
        Ok(Exec { commands: 0 })
    }

    fn visit_str<E>(self, line: &str) -> Result<Exec, E> {
        Ok(Exec {
            commands: usize::from(!line.trim().is_empty()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Exec, A::Error> {
        let commands = Vec::<Command>::deserialize(SeqAccessDeserializer::new(sequence))?;
        Ok(Exec {
            commands: commands.len(),
        })
    }
}
