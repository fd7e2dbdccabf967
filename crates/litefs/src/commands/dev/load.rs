//! The load: a process that writes through the primary's mount, and one per replica that reads through its.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::child;
use super::cluster::Cluster;
use crate::cli::{LOAD_READER, LOAD_WRITER};
use crate::commands::load::{Quantiles, ReaderReport, WriterReport};

/// The database that the load is put on.
const DATABASE: &str = "load.db";

/// One run of the load.
pub(super) struct Load<'a> {
    cluster: &'a Cluster,
    seconds: u32,
    /// Tells this run's rows from those of an earlier one.
    run: u32,
}

impl<'a> Load<'a> {
    pub(super) fn new(cluster: &'a Cluster, seconds: u32) -> Load<'a> {
        Load {
            cluster,
            seconds,
            run: rand::random(),
        }
    }

    /// Runs it and says how fast it was. The processes end with the returned future.
    pub(super) async fn run(&self) -> anyhow::Result<String> {
        let [primary, replicas @ ..] = self.cluster.nodes() else {
            return Err(anyhow!("there is no node"));
        };
        let writer = self.start::<WriterReport>(LOAD_WRITER, &primary.mount())?;
        let readers = replicas.iter().map(|replica| {
            let report = self.start::<ReaderReport>(LOAD_READER, &replica.mount())?;
            anyhow::Ok((replica.name.as_str(), report))
        });
        let readers: Vec<_> = readers.collect::<anyhow::Result<_>>()?;
        let written = writer.await.context("the writer failed")?;
        let mut read = Vec::new();
        for (name, report) in readers {
            read.push((
                name,
                report
                    .await
                    .with_context(|| format!("the reader on {name} failed"))?,
            ));
        }
        Ok(summary(&written, &read))
    }

    /// Starts a load process on the database in `mount`; the future is its report.
    fn start<T: DeserializeOwned>(
        &self,
        part: &str,
        mount: &Path,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<T>> + use<T>> {
        let mut command: Command = child::this_program()?;
        command.arg(part).arg("--db").arg(mount.join(DATABASE));
        command.args([
            "--seconds",
            &self.seconds.to_string(),
            "--run",
            &self.run.to_string(),
        ]);
        command
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        let process = command.spawn().context("start a load process")?;
        Ok(async move {
            let output = process.wait_with_output().await?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.trim_end().trim_start_matches("ERROR: ").to_owned();
                return Err(anyhow!(if said.is_empty() {
                    output.status.to_string()
                } else {
                    said
                }));
            }
            Ok(serde_json::from_slice(&output.stdout)?)
        })
    }
}

fn summary(written: &WriterReport, read: &[(&str, ReaderReport)]) -> String {
    let mut text = String::from("load, in processes of their own, through the mounts:\n");
    let per_second = |count: u64, seconds: f64| count as f64 / seconds.max(f64::MIN_POSITIVE);
    let WriterReport {
        writes,
        seconds,
        latency,
    } = written;
    let rate = per_second(*writes, *seconds);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  node1  {writes} writes, {rate:.0} per second, each a transaction: {}",
        times(latency)
    );
    for (
        name,
        ReaderReport {
            reads,
            seconds,
            rows,
            lag,
        },
    ) in read
    {
        let rate = per_second(*reads, *seconds);
        let _ = writeln!(text, "  {name:6} {reads} reads, {rate:.0} per second");
        let _ = writeln!(
            text,
            "  {name:6} lag of {rows} rows, from before the commit to first sight: {}",
            times(lag)
        );
    }
    text
}

fn times(quantiles: &Quantiles) -> String {
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let Quantiles { p50, p99, max } = *quantiles;
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        ms(p50),
        ms(p99),
        ms(max)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_rates_and_lags() {
        let quantiles = Quantiles {
            p50: 1_500_000,
            p99: 20_000_000,
            max: 123_456_789,
        };
        let written = WriterReport {
            writes: 500,
            seconds: 2.0,
            latency: quantiles,
        };
        let read = [(
            "node2",
            ReaderReport {
                reads: 9000,
                seconds: 3.0,
                rows: 480,
                lag: quantiles,
            },
        )];
        let expected = "load, in processes of their own, through the mounts:\n  \
            node1  500 writes, 250 per second, each a transaction: p50 1.50 ms, p99 20.00 ms, max 123.46 ms\n  \
            node2  9000 reads, 3000 per second\n  \
            node2  lag of 480 rows, from before the commit to first sight: p50 1.50 ms, p99 20.00 ms, max 123.46 ms\n";
        assert_eq!(summary(&written, &read), expected);
    }
}
