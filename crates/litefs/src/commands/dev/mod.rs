//! `litefs dev`: a primary and replicas on this machine, to try litefs out.
//!
//! Each node is a process of its own, `litefs mount` with a configuration that is written here. Whatever ends
//! this process, the nodes end with it and unmount.

mod child;
mod cluster;
mod home;
mod load;
mod mounts;
mod node;
mod preflight;
mod screen;
mod status;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::cli::DevArgs;
use crate::{complain, say, signals};

use cluster::Cluster;
use home::Home;
use load::Load;
use screen::Screen;
use status::Statuses;

/// Between two looks at the nodes.
const REFRESH: Duration = Duration::from_secs(1);

/// Runs the nodes until a signal, or until the load is done.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    preflight::check()?;
    let home = Home::new(args.dir.as_deref(), args.keep)?;
    let mut cluster = Cluster::prepare(home.path(), args.nodes)?;
    let outcome = supervise(&mut cluster, &home, args.load, &shutdown).await;
    if let Err(error) = &outcome {
        complain(error);
        if !home.is_temporary() {
            eprintln!("The logs of the nodes are in {}.", home.path().display());
        }
    } else if shutdown.is_cancelled() {
        say("stopping the nodes\n");
    }
    cluster.stop().await;
    home.leave(&cluster.mounts())?;
    Ok(outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

/// Starts the nodes and stays until there is a reason to stop them.
async fn supervise(
    cluster: &mut Cluster,
    home: &Home,
    load: Option<u32>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    cluster.start()?;
    tokio::select! {
        ready = cluster.ready() => ready?,
        () = shutdown.cancelled() => return Ok(()),
    }
    say(&cluster.introduction(home));
    let screen = Screen::new();
    tokio::select! {
        ended = cluster.node_ended() => Err(ended),
        shown = show(cluster, screen.clone()) => shown,
        done = run_load(cluster, load, screen) => done,
        () = shutdown.cancelled() => Ok(()),
    }
}

/// Shows what every node does, for ever.
async fn show(cluster: &Cluster, mut screen: Screen) -> anyhow::Result<()> {
    let mut statuses = Statuses::new(cluster)?;
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        statuses.refresh().await;
        screen.show(&statuses.lines());
    }
}

/// Runs the load if one is asked for, and tells what came out; else never ends.
async fn run_load(cluster: &Cluster, seconds: Option<u32>, screen: Screen) -> anyhow::Result<()> {
    let Some(seconds) = seconds else {
        return std::future::pending().await;
    };
    let report = Load::new(cluster, seconds).run().await?;
    screen.print(&report);
    screen.print(&verify::all_equal(cluster).await?);
    Ok(())
}
