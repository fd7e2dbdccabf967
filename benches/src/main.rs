//! How fast SQLite is on a mount, as a ratio to a plain directory of the same disk in the same run.
//!
//! Machines are noisy and differ by an order of magnitude, so only ratios say anything: each is the median of the
//! ratios of several rounds, and in each round the places take turns. The places are a plain directory, a node alone,
//! and a primary with a live replica, all on the same file system. The clients are processes of their own, with the
//! SQLite that is built into this program.
//!
//! It knows the product from outside only, through the harness of the end-to-end tests.

mod client;
mod clock;
mod lag;
mod layout;
mod places;
mod rates;
mod report;
mod statistics;
mod worker;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use harness::{Stage, profile_directory};

use crate::client::ClientCommand;
use crate::layout::Layout;
use crate::places::Places;
use crate::report::Report;

/// Longer than any sensible run.
const LIMIT: Duration = Duration::from_secs(3600);

/// Compares SQLite on a mount with SQLite in a plain directory.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each measurement takes.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 7)]
    reps: u32,
    /// Only what has this in its name: wal-normal, wal-full, delete-full, truncate-full, persist-full, lag.
    #[arg(long, default_value = "")]
    only: String,
    /// Where the data, the mounts and the plain directory are: all on the file system that is to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    client: Option<ClientCommand>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.client {
        Some(command) => command.run(),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        harness::fuse_available(),
        "real mounts are what is measured"
    );
    anyhow::ensure!(
        arguments.reps > 0 && arguments.seconds > 0.0,
        "nothing to measure"
    );
    let target = profile_directory()
        .parent()
        .context("the program is in a target directory")?
        .to_owned();
    let directory = arguments.dir.clone().unwrap_or_else(|| target.clone());
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let mut places = Places::start(Stage::new_in(&directory, LIMIT));
    let mut report = Report::new(arguments.seconds, arguments.reps);
    for layout in Layout::ALL
        .into_iter()
        .filter(|layout| layout.to_string().contains(&arguments.only))
    {
        let rates = rates::measure(&places, layout, arguments.seconds, arguments.reps)?;
        report.add_rates(layout, rates);
    }
    if "lag".contains(&arguments.only) {
        report.add_lags(lag::measure(&places, arguments.seconds, arguments.reps)?);
    }
    places.stop();
    let json = arguments
        .json
        .clone()
        .unwrap_or_else(|| target.join("benchmarks.json"));
    fs::write(&json, report.json()?).with_context(|| format!("write {}", json.display()))?;
    print!("{}", report.table());
    println!("\nAll figures: {}", json.display());
    Ok(())
}
