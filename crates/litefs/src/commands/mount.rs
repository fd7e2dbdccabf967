//! `litefs mount`, as its worker runs it: a node.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::cli::MountArgs;
use crate::config::Config;
use crate::guard::{Inherited, Link};
use crate::logging::{self, Verbosity};
use crate::node::{Mounting, Node};
use crate::{complain, say, signals};

use super::version;

/// The line on standard output that says that the node is up begins so.
pub(crate) const READY: &str = "ready: ";

/// How long threads that still wait for something may keep the process from ending.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs a node until SIGTERM or SIGINT, or until the guard wants a successor. The guard is at the other end of
/// `descriptor`.
pub(crate) fn run(descriptor: i32, args: &MountArgs) -> anyhow::Result<ExitCode> {
    let (link, inherited) = Link::take_up(descriptor)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(mount(args, link, inherited));
    runtime.shutdown_timeout(LEFTOVERS);
    status
}

async fn mount(args: &MountArgs, link: Link, inherited: Inherited) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let config = match Config::load(args.config.as_deref(), !args.no_expand_env) {
        Ok((config, path)) => {
            let verbosity = verbosity(args, &config);
            logging::init(&config.log, verbosity);
            tracing::info!("config file read from {}", path.display());
            config
        }
        Err(error) => {
            complain(&error);
            return Ok(ExitCode::from(2));
        }
    };
    say(&format!("{}\n", version::line()));
    warn_of_cloud_token();
    let exit_on_error = config.exit_on_error;
    let mounting = Mounting {
        clear_stale: !args.skip_unmount,
        debug: config.fuse.debug || args.fuse_debug,
    };
    let mut node = Node::new(config, mounting, link.clone(), inherited);
    let outcome = stay(&mut node, &link, exit_on_error, &shutdown).await;
    if let Err(error) = &outcome {
        complain(error);
    }
    let stopped = match &outcome {
        Ok(Why::Successor) => node.leave().await,
        _ => node.stop().await,
    };
    outcome.map_or(Ok(ExitCode::FAILURE), |_| {
        stopped.map(|()| ExitCode::SUCCESS)
    })
}

/// Why a node is to stop.
enum Why {
    /// It is to end.
    Asked,
    /// Another process takes its place.
    Successor,
}

/// Starts the node and waits for the reason to stop it.
async fn stay(
    node: &mut Node,
    link: &Link,
    exit_on_error: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<Why> {
    match node.start(shutdown).await {
        Ok(()) if shutdown.is_cancelled() => return Ok(Why::Asked),
        Ok(()) => {
            node.announce().await?;
            say(&format!("{READY}{}\n", node.introduction()));
        }
        Err(error) if exit_on_error => return Err(error),
        Err(error) => {
            complain(&error);
            tracing::warn!("exit-on-error is false: what has come up stays, until a signal");
            shutdown.cancelled().await;
            return Ok(Why::Asked);
        }
    }
    tokio::select! {
        () = shutdown.cancelled() => Ok(Why::Asked),
        () = successor_wanted(link.clone()) => Ok(Why::Successor),
        error = node.failed() => Err(error),
    }
}

/// Waits until the guard asks this process to make room for another one.
async fn successor_wanted(link: Link) {
    let (asked, wanted) = tokio::sync::oneshot::channel();
    // A thread of its own, which ends with the process: the runtime would wait for it.
    std::thread::spawn(move || {
        if link.wait_for_leave() {
            let _ = asked.send(());
        }
    });
    if wanted.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn verbosity(args: &MountArgs, config: &Config) -> Verbosity {
    Verbosity {
        debug: config.log.debug || args.debug,
        fuse: config.fuse.debug || args.fuse_debug,
        trace: args.tracing,
    }
}

/// LiteFS makes backups as soon as this variable is set.
fn warn_of_cloud_token() {
    if std::env::var("LITEFS_CLOUD_TOKEN").is_ok_and(|token| !token.trim().is_empty()) {
        tracing::warn!(
            "LITEFS_CLOUD_TOKEN is set, but this build makes no backups to LiteFS Cloud"
        );
    }
}
