//! Clusters of simulated nodes under simulated time, thousands of times, with everything that can go wrong.
//!
//! `LITEFS_SIM_SEEDS=N` runs N seeds (beginning with `LITEFS_SIM_FROM`), `LITEFS_SIM_SEED=S` runs one and says what
//! happened. See `docs/leases.md`.

mod clock;
mod cluster;
mod faults;
mod node;
mod pausable;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

/// How many seeds a usual run has.
const SEEDS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; what was violated, and what happened.
fn run(seed: u64) -> Result<String, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(faults::play(seed))
}

#[test]
fn no_schedule_makes_two_primaries_or_none() {
    if let Some(seed) = number("LITEFS_SIM_SEED") {
        match run(seed) {
            Ok(trace) => println!("{trace}"),
            Err(report) => panic!("seed {seed}: {report}"),
        }
        return;
    }
    let from = number("LITEFS_SIM_FROM").unwrap_or(0);
    let to = from + number("LITEFS_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let failed = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    if let Err(report) = run(seed) {
                        failed.lock().unwrap().push((seed, report));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for (seed, report) in &failed {
        let first = report.lines().next().unwrap_or_default();
        println!("LITEFS_SIM_SEED={seed}: {first}");
    }
    if let Some((seed, report)) = failed.first() {
        panic!("seed {seed}: {report}");
    }
}
