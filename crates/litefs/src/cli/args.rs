//! The arguments of each command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::Refusal;

/// The hidden commands that `litefs dev --load` runs in processes of their own.
pub(crate) const LOAD_WRITER: &str = "load-writer";
/// See [`LOAD_WRITER`].
pub(crate) const LOAD_READER: &str = "load-reader";

const DEFAULT_URL: &str = "http://localhost:20202";

/// Runs a node: mounts its directory and replicates the databases in it, until SIGTERM or SIGINT.
///
/// The configuration is the file given with -config, else the first of ./litefs.yml, $HOME/litefs.yml and
/// /etc/litefs.yml.
#[derive(Debug, Parser)]
#[command(
    name = "litefs mount",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct MountArgs {
    /// Read this configuration file and no other.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Take the configuration as it is: expand no environment variables in it.
    #[arg(long)]
    pub(crate) no_expand_env: bool,

    /// Leave the mount of a dead process alone. Otherwise it is cleared before the start; a live one never is.
    #[arg(long)]
    pub(crate) skip_unmount: bool,

    /// Log every FUSE request, as `fuse.debug: true` does.
    #[arg(long = "fuse.debug")]
    pub(crate) fuse_debug: bool,

    /// Say more, as `log.debug: true` does.
    #[arg(long)]
    pub(crate) debug: bool,

    /// Say everything, on standard error.
    #[arg(long)]
    pub(crate) tracing: bool,

    #[arg(hide = true)]
    extra: Vec<OsString>,

    #[arg(last = true, hide = true)]
    command: Vec<OsString>,
}

impl MountArgs {
    pub(super) fn checked(mut self) -> Result<MountArgs, Refusal> {
        if !self.extra.is_empty() {
            return Err(Refusal::wrong(
                "too many arguments, specify a '--' to specify an exec command",
                2,
            ));
        }
        if !self.command.is_empty() {
            let message = "a command after '--' is not supported yet by this build: start it by itself once the \
                           mount is ready";
            return Err(Refusal::wrong(message, 2));
        }
        self.config = self.config.filter(|path| !path.as_os_str().is_empty());
        Ok(self)
    }
}

/// Has the running node go on with the program that is in its place now: a new version, installed over the old one.
///
/// The mount stays, and with it the connections of applications, which notice a pause. The node is found by its
/// configuration, as with `litefs mount`.
#[derive(Debug, Parser)]
#[command(
    name = "litefs upgrade",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct UpgradeArgs {
    /// The configuration file of the node.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Take the configuration as it is: expand no environment variables in it.
    #[arg(long)]
    pub(crate) no_expand_env: bool,
}

/// Puts the SQLite database in the file PATH into a running cluster.
///
/// It becomes one transaction: a database of that name is replaced as a whole, or not at all. The node must be
/// the primary. The file must be complete: with nothing to recover in a -wal or -journal beside it.
#[derive(Debug, Parser)]
#[command(
    name = "litefs import",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct ImportArgs {
    /// The node to send it to.
    #[arg(long, default_value = DEFAULT_URL, value_parser = base_url)]
    pub(crate) url: String,

    /// The name of the database in the mount [default: the file's name].
    #[arg(long)]
    name: Option<String>,

    /// A SQLite database.
    path: Option<PathBuf>,

    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Writes a copy of a database of a running node to the file PATH, as it is at one moment.
///
/// Any node will do. PATH is replaced as a whole, once the copy is complete and on disk; what belongs to a
/// database that was there before (PATH-wal, PATH-shm, PATH-journal) is removed just before that.
#[derive(Debug, Parser)]
#[command(
    name = "litefs export",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct ExportArgs {
    /// The node to get it from.
    #[arg(long, default_value = DEFAULT_URL, value_parser = base_url)]
    pub(crate) url: String,

    /// The name of the database in the mount.
    #[arg(long)]
    name: Option<String>,

    /// The file to write.
    path: Option<PathBuf>,

    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Makes a node the primary.
///
/// The node asks the primary to hand over, which loses nothing and interrupts writers for less than a second, and the
/// command ends when the node is the primary. It fails if the node is no candidate, or lacks something that the cluster
/// has.
#[derive(Debug, Parser)]
#[command(
    name = "litefs promote",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct PromoteArgs {
    /// The node that is to become the primary.
    #[arg(long, default_value = DEFAULT_URL, value_parser = base_url)]
    pub(crate) url: String,

    /// Take over although the node lacks databases or transactions that the cluster has: they are lost to the cluster,
    /// and go aside where they are. For when the nodes that have them do not come back. A primary that is alive is not
    /// driven out by it.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Has the primary hand over to another node.
///
/// Without NODE to the candidate that is the most advanced. Nothing is lost, and writers are interrupted for less than a
/// second. If it cannot be done the primary stays what it is.
#[derive(Debug, Parser)]
#[command(
    name = "litefs handoff",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct HandoffArgs {
    /// The primary.
    #[arg(long, default_value = DEFAULT_URL, value_parser = base_url)]
    pub(crate) url: String,

    /// The host name or the node id of a connected replica, as `/info` of the primary shows them.
    pub(crate) node: Option<String>,
}

/// A database in a cluster and a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Base URL of the node's API, without a slash at the end.
    pub(crate) url: String,
    /// The database's name in the mount.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
}

impl ImportArgs {
    pub(super) fn checked(self) -> Result<Transfer, Refusal> {
        let path = only::<ImportArgs>(self.path, &self.extra)?;
        let name = self.name.or_else(|| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        });
        Ok(Transfer {
            url: self.url,
            name: required(name, "import")?,
            path,
        })
    }
}

impl ExportArgs {
    pub(super) fn checked(self) -> Result<Transfer, Refusal> {
        let path = only::<ExportArgs>(self.path, &self.extra)?;
        Ok(Transfer {
            url: self.url,
            name: required(self.name, "export")?,
            path,
        })
    }
}

/// The one PATH; without it the command explains itself.
fn only<A: CommandFactory>(path: Option<PathBuf>, extra: &[OsString]) -> Result<PathBuf, Refusal> {
    match path {
        None => Err(Refusal::Usage(A::command().render_long_help().to_string())),
        Some(_) if !extra.is_empty() => Err(Refusal::wrong("too many arguments", 1)),
        Some(path) => Ok(path),
    }
}

fn required(name: Option<String>, command: &str) -> Result<String, Refusal> {
    let message = || {
        Refusal::wrong(
            format!("database name required: litefs {command} -name NAME PATH"),
            1,
        )
    };
    name.filter(|name| !name.is_empty()).ok_or_else(message)
}

/// A node's URL without a slash at the end.
fn base_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("it must begin with http://".to_owned()),
    }
}

/// Runs a primary and replicas on this machine to try litefs out, until Ctrl-C.
///
/// Prints where the mounts are and what to try, then shows what every node does. When it ends it leaves no
/// process and no mount behind, nor its directory, unless that was given.
#[derive(Debug, Parser)]
#[command(name = "litefs dev", no_binary_name = true, args_override_self = true)]
pub(crate) struct DevArgs {
    /// How many nodes; the first is the primary.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,

    /// Keep data and mounts in this directory [default: a temporary one].
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,

    /// Write through the primary's mount and read through the replicas' for that many seconds, show how fast that
    /// is, check that all nodes are equal, and end. It fails if they are not.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) load: Option<u32>,

    /// Keep the temporary directory.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What the load processes are told.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, hide = true)]
pub(crate) struct LoadArgs {
    /// The database in a mount.
    #[arg(long)]
    pub(crate) db: PathBuf,

    /// How long the writer writes.
    #[arg(long)]
    pub(crate) seconds: u32,

    /// Which rows are this run's.
    #[arg(long)]
    pub(crate) run: u32,
}
