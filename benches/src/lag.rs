//! From the end of a commit on the primary to the first read on the replica that sees it.

use serde::Serialize;

use crate::client::Stamp;
use crate::layout::Layout;
use crate::places::{Place, Places};
use crate::statistics::{median, quantile};
use crate::worker::Worker;

/// A rate of commits, and what became of them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lag {
    /// The commits per second that were asked for; 0 is as many as possible.
    pub(crate) rate: u32,
    /// In the plain directory, reader and writer on the same database: what the measurement itself costs.
    pub(crate) plain: LagSamples,
    /// From the primary to the replica.
    pub(crate) replicated: LagSamples,
}

/// Milliseconds of each round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LagSamples {
    /// The commits per second that were done.
    pub(crate) per_second: Vec<f64>,
    /// Half of them were seen within this time.
    pub(crate) p50: Vec<f64>,
    /// 99 of 100.
    pub(crate) p99: Vec<f64>,
    /// All.
    pub(crate) max: Vec<f64>,
}

/// Measures at a moderate rate and at full speed.
pub(crate) fn measure(places: &Places, seconds: f64, reps: u32) -> anyhow::Result<Vec<Lag>> {
    let (name, layout) = ("lag", Layout::WAL_NORMAL);
    let words = [
        layout.journal_mode.to_string(),
        layout.synchronous.to_string(),
    ];
    for place in [Place::Plain, Place::Primary] {
        Worker::run(
            "prepare",
            &places.database(place, name),
            &[&words[0], &words[1]],
        )?;
    }
    places.settle(name);
    let mut lags = Vec::new();
    for rate in [1000, 0] {
        let mut lag = Lag {
            rate,
            plain: LagSamples::default(),
            replicated: LagSamples::default(),
        };
        for round in 0..reps {
            eprintln!("lag at {}: round {} of {reps}", rate_name(rate), round + 1);
            one(
                places,
                name,
                rate,
                seconds,
                (Place::Plain, Place::Plain),
                &mut lag.plain,
            )?;
            one(
                places,
                name,
                rate,
                seconds,
                (Place::Primary, Place::Replica),
                &mut lag.replicated,
            )?;
        }
        lags.push(lag);
    }
    Ok(lags)
}

/// A rate in words.
pub(crate) fn rate_name(rate: u32) -> String {
    if rate == 0 {
        "full speed".to_owned()
    } else {
        format!("{rate} commits/s")
    }
}

fn one(
    places: &Places,
    name: &str,
    rate: u32,
    seconds: f64,
    (writer, reader): (Place, Place),
    samples: &mut LagSamples,
) -> anyhow::Result<()> {
    let mut look = Worker::ready("look", &places.database(reader, name), &[])?;
    let mut count = Worker::ready(
        "count",
        &places.database(writer, name),
        &[&rate.to_string(), &seconds.to_string()],
    )?;
    look.go()?;
    count.go()?;
    let committed: Vec<Stamp> = count.finish()?;
    let last = committed.last().map_or(i64::MIN, |(value, _)| *value);
    look.tell(&last.to_string())?;
    let milliseconds = delays(&committed, &look.finish::<Vec<Stamp>>()?);
    samples.per_second.push(committed.len() as f64 / seconds);
    samples.p50.push(median(&milliseconds));
    samples.p99.push(quantile(&milliseconds, 0.99));
    samples.max.push(quantile(&milliseconds, 1.0));
    if reader == Place::Replica {
        places.settle(name);
    }
    Ok(())
}

/// For each committed value the milliseconds until it, or a later one, was seen. What was seen before the commit had
/// returned to the writer counts as seen at once.
fn delays(committed: &[Stamp], seen: &[Stamp]) -> Vec<f64> {
    let mut seen = seen.iter().peekable();
    let mut delays = Vec::with_capacity(committed.len());
    for (value, at) in committed {
        while seen.next_if(|(other, _)| other < value).is_some() {}
        if let Some((_, time)) = seen.peek() {
            delays.push(time.saturating_sub(*at) as f64 / 1e6);
        }
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_seen_with_itself_or_a_later_one() {
        let committed = [
            (1, 1_000_000),
            (2, 2_000_000),
            (3, 3_000_000),
            (4, 9_000_000),
        ];
        let seen = [(1, 1_500_000), (3, 4_000_000), (4, 8_000_000)];
        assert_eq!(delays(&committed, &seen), [0.5, 2.0, 1.0, 0.0]);
    }
}
