//! Random sequences of operations by several connections, on databases in the mount and on plain files: SQLite gives the
//! same answers on both, and the replica has the same bytes as the primary.

mod comparison;
mod crash;
mod executor;
mod generator;
mod nodes;
mod operation;
mod pair;
mod random;
mod reader;
mod run;
mod statement;

use std::time::{Duration, Instant};

use run::check;

/// Operations of a plan, unless the environment says something else.
const STEPS: usize = 200;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse().ok();
    Some(value.unwrap_or_else(|| panic!("{name} is {text:?}")))
}

fn steps() -> usize {
    variable("LITEFS_MODEL_STEPS").unwrap_or(STEPS)
}

#[track_caller]
fn seed(number: u64, passthrough: bool) {
    check(
        &format!("seed-{number}-{passthrough}"),
        &generator::plan(number, steps()),
        passthrough,
    );
}

#[test]
fn passthrough() {
    for number in 1..=3 {
        seed(number, true);
    }
}

#[test]
fn cached() {
    for number in 4..=6 {
        seed(number, false);
    }
}

/// Seeds from `LITEFS_MODEL_FROM` on for `LITEFS_MODEL_SECONDS`, in turns with and without passthrough; or the plan in
/// the file `LITEFS_MODEL_PLAN`. `LITEFS_MODEL_CACHED` leaves out passthrough.
#[test]
#[ignore = "as long as one wants"]
fn long() {
    let cached = std::env::var_os("LITEFS_MODEL_CACHED").is_some();
    if let Some(path) = variable("LITEFS_MODEL_PLAN") {
        check("plan", &run::load(&path), !cached);
        return;
    }
    let from: u64 = variable("LITEFS_MODEL_FROM").unwrap_or(1000);
    let duration = Duration::from_secs(variable("LITEFS_MODEL_SECONDS").unwrap_or(600));
    let end = Instant::now() + duration;
    let mut number = from;
    while number == from || Instant::now() < end {
        seed(number, !cached && number.is_multiple_of(2));
        eprintln!("seed {number} agrees");
        number += 1;
    }
}
