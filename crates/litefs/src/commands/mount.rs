//! `litefs mount`: runs a node.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::cli::MountArgs;
use crate::config::Config;
use crate::guard::Guard;
use crate::logging::{self, Verbosity};
use crate::node::{Mounting, Node};
use crate::{complain, say, signals};

use super::version;

/// The line on standard output that says that the node is up begins so.
pub(crate) const READY: &str = "ready: ";

/// How long threads that still wait for something may keep the process from ending.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs a node until SIGTERM or SIGINT.
pub(crate) fn run(args: &MountArgs) -> anyhow::Result<ExitCode> {
    // On this thread, which lives as long as the process.
    let guard = Guard::start()?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(mount(args, guard));
    runtime.shutdown_timeout(LEFTOVERS);
    status
}

async fn mount(args: &MountArgs, guard: Guard) -> anyhow::Result<ExitCode> {
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
    let mut node = Node::new(config, mounting, guard);
    let outcome = stay(&mut node, exit_on_error, &shutdown).await;
    if let Err(error) = &outcome {
        complain(error);
    }
    let stopped = node.stop().await;
    outcome.map_or(Ok(ExitCode::FAILURE), |()| {
        stopped.map(|()| ExitCode::SUCCESS)
    })
}

/// Starts the node and waits for the reason to stop it.
async fn stay(
    node: &mut Node,
    exit_on_error: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    match node.start(shutdown).await {
        Ok(()) if shutdown.is_cancelled() => return Ok(()),
        Ok(()) => say(&format!("{READY}{}\n", node.introduction())),
        Err(error) if exit_on_error => return Err(error),
        Err(error) => {
            complain(&error);
            tracing::warn!("exit-on-error is false: what has come up stays, until a signal");
            shutdown.cancelled().await;
            return Ok(());
        }
    }
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        error = node.failed() => Err(error),
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
