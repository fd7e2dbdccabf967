//! The figures as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::lag::{Lag, LagSamples, rate_name};
use crate::layout::Layout;
use crate::rates::{Comparison, Rates, Samples};
use crate::statistics::{median, median_ratio};

/// Above this a ratio says that the plain directory was not measured properly.
const MEANINGLESS: f64 = 10.0;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kernel: String,
    cores: usize,
    sqlite: &'static str,
    seconds: f64,
    reps: u32,
    rates: Vec<LayoutRates>,
    lags: Vec<Lag>,
}

#[derive(Debug, Serialize)]
struct LayoutRates {
    layout: String,
    #[serde(flatten)]
    rates: Rates,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(seconds: f64, reps: u32) -> Report {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Report {
            // What follows the version says more about the machine than about the kernel.
            kernel: release
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            sqlite: rusqlite::version(),
            seconds,
            reps,
            rates: Vec::new(),
            lags: Vec::new(),
        }
    }

    /// The figures of a layout.
    pub(crate) fn add_rates(&mut self, layout: Layout, rates: Rates) {
        self.rates.push(LayoutRates {
            layout: layout.to_string(),
            rates,
        });
    }

    /// The figures of the lag.
    pub(crate) fn add_lags(&mut self, lags: Vec<Lag>) {
        self.lags.extend(lags);
    }

    /// All samples.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Medians, for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "Linux {}, {} cores, SQLite {}; medians of {} rounds of {} s; ratios to the plain directory of the same round\n",
            self.kernel, self.cores, self.sqlite, self.reps, self.seconds
        );
        if !self.rates.is_empty() {
            text += &format!(
                "\n{:<15}{:<24}{:>10} | {:>10}{:>8}{:>8} | {:>10}{:>8}{:>8}\n",
                "", "", "plain/s", "alone/s", "ratio", "req/tx", "replica/s", "ratio", "req/tx"
            );
        }
        for layout in &self.rates {
            let rates = &layout.rates;
            for (label, comparison) in [
                ("writes", &rates.writes),
                ("reads", &rates.reads),
                ("writes, reader beside", &rates.writes_beside_reads),
                ("reads, writer beside", &rates.reads_beside_writes),
            ] {
                text += &row(&layout.layout, label, comparison);
            }
        }
        for lag in &self.lags {
            text += &format!("\nlag at {} (milliseconds)\n", rate_name(lag.rate));
            text += &lag_row("one plain database", &lag.plain);
            text += &lag_row("primary to replica", &lag.replicated);
        }
        text
    }
}

fn row(layout: &str, label: &str, comparison: &Comparison) -> String {
    let plain = &comparison.plain;
    let mut text = format!("{layout:<15}{label:<24}{:>10.0}", median(&plain.per_second));
    for samples in [&comparison.alone, &comparison.replicated] {
        text += &cell(samples, plain);
    }
    text + "\n"
}

fn cell(samples: &Samples, plain: &Samples) -> String {
    if samples.per_second.is_empty() {
        return format!(" | {:>10}{:>8}{:>8}", "", "", "");
    }
    let ratio = median_ratio(&samples.per_second, &plain.per_second);
    // Beside a writer in a rollback mode a plain reader may hardly get a lock at all: no measure then.
    let ratio = if ratio > MEANINGLESS {
        format!(">{MEANINGLESS:.0}x")
    } else {
        format!("{ratio:.2}x")
    };
    let mut text = format!(" | {:>10.0}{ratio:>8}", median(&samples.per_second));
    let written = match samples.requests.is_empty() {
        true => write!(text, "{:>8}", "-"),
        false => write!(text, "{:>8.2}", median(&samples.requests)),
    };
    written.expect("writing to a string does not fail");
    text
}

fn lag_row(label: &str, samples: &LagSamples) -> String {
    format!(
        "  {label:<20} {:>8.0} commits/s   p50 {:>8.3}   p99 {:>8.3}   max {:>8.3}\n",
        median(&samples.per_second),
        median(&samples.p50),
        median(&samples.p99),
        median(&samples.max)
    )
}
