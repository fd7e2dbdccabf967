//! The processes that `litefs dev --load` runs: applications that use SQLite on a mount, and nothing of litefs.
//!
//! The writer commits rows that carry the time; a reader looks for new rows as fast as it can and notes how old
//! each one is when it first sees it. Both print what they measured as one line of JSON.

mod latency;
mod reader;
mod writer;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(crate) use latency::{Latencies, Quantiles};
pub(crate) use reader::read;
pub(crate) use writer::write;

/// What the writer measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WriterReport {
    /// Rows committed, each in a transaction of its own.
    pub(crate) writes: u64,
    pub(crate) seconds: f64,
    /// From the call to its return.
    pub(crate) latency: Quantiles,
}

/// What a reader measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReaderReport {
    /// Read transactions.
    pub(crate) reads: u64,
    pub(crate) seconds: f64,
    /// Rows that came while it read.
    pub(crate) rows: u64,
    /// From the moment before the commit until the row was seen.
    pub(crate) lag: Quantiles,
}

/// Nanoseconds of a clock that all processes of this machine share and nobody sets.
fn now() -> anyhow::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
