//! Transactions per second of writers and readers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Done;
use crate::layout::Layout;
use crate::places::{Place, Places};
use crate::worker::Worker;

/// What a client of one place did in each round.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Samples {
    /// Transactions per second.
    pub(crate) per_second: Vec<f64>,
    /// FUSE requests per transaction, where there is a node.
    pub(crate) requests: Vec<f64>,
    /// The same of the last round, by kind of request.
    pub(crate) by_kind: BTreeMap<String, f64>,
}

/// The same work in different places.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Comparison {
    /// In the plain directory.
    pub(crate) plain: Samples,
    /// On the mount of a node alone; empty where that is not measured.
    pub(crate) alone: Samples,
    /// On the primary (writes) or its replica (reads).
    pub(crate) replicated: Samples,
}

/// The figures of a layout.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Rates {
    /// One writer.
    pub(crate) writes: Comparison,
    /// One reader; nothing is written.
    pub(crate) reads: Comparison,
    /// One writer, with a reader beside it.
    pub(crate) writes_beside_reads: Comparison,
    /// That reader.
    pub(crate) reads_beside_writes: Comparison,
}

/// Measures a layout in all places.
pub(crate) fn measure(
    places: &Places,
    layout: Layout,
    seconds: f64,
    reps: u32,
) -> anyhow::Result<Rates> {
    let bench = Bench {
        places,
        name: layout.to_string(),
        layout,
        seconds,
    };
    let words = [
        layout.journal_mode.to_string(),
        layout.synchronous.to_string(),
    ];
    for place in [Place::Plain, Place::Alone, Place::Primary] {
        Worker::run(
            "prepare",
            &places.database(place, &bench.name),
            &[&words[0], &words[1]],
        )?;
    }
    places.settle(&bench.name);
    let mut rates = Rates::default();
    for round in 0..reps {
        eprintln!("{layout}: round {} of {reps}", round + 1);
        bench.round(&mut rates, round)?;
    }
    Ok(rates)
}

struct Bench<'a> {
    places: &'a Places,
    name: String,
    layout: Layout,
    seconds: f64,
}

impl Bench<'_> {
    /// Each place in turn; the next round begins with the next place.
    fn round(&self, rates: &mut Rates, round: u32) -> anyhow::Result<()> {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    self.one(Place::Plain, true, &mut rates.writes.plain)?;
                    self.one(Place::Plain, false, &mut rates.reads.plain)?;
                }
                1 => {
                    self.one(Place::Alone, true, &mut rates.writes.alone)?;
                    self.one(Place::Alone, false, &mut rates.reads.alone)?;
                }
                _ => {
                    self.one(Place::Primary, true, &mut rates.writes.replicated)?;
                    self.places.settle(&self.name);
                    self.one(Place::Replica, false, &mut rates.reads.replicated)?;
                }
            }
        }
        let (writes, reads) = (
            &mut rates.writes_beside_reads,
            &mut rates.reads_beside_writes,
        );
        self.both(
            Place::Plain,
            Place::Plain,
            &mut writes.plain,
            &mut reads.plain,
        )?;
        self.both(
            Place::Primary,
            Place::Replica,
            &mut writes.replicated,
            &mut reads.replicated,
        )?;
        self.places.settle(&self.name);
        Ok(())
    }

    fn one(&self, place: Place, writes: bool, samples: &mut Samples) -> anyhow::Result<()> {
        let mut worker = self.worker(place, writes)?;
        let before = self.places.metrics(place);
        worker.go()?;
        let done = worker.finish()?;
        self.add(samples, place, before, done);
        Ok(())
    }

    /// A writer and a reader at the same time. Whose request a request is cannot be told then.
    fn both(
        &self,
        writer: Place,
        reader: Place,
        written: &mut Samples,
        read: &mut Samples,
    ) -> anyhow::Result<()> {
        let mut workers = [self.worker(writer, true)?, self.worker(reader, false)?];
        for worker in &mut workers {
            worker.go()?;
        }
        let [writer, reader] = workers;
        written.per_second.push(per_second(writer.finish()?));
        read.per_second.push(per_second(reader.finish()?));
        Ok(())
    }

    fn worker(&self, place: Place, writes: bool) -> anyhow::Result<Worker> {
        let database = self.places.database(place, &self.name);
        let seconds = self.seconds.to_string();
        let (mode, level) = (
            self.layout.journal_mode.to_string(),
            self.layout.synchronous.to_string(),
        );
        if writes {
            Worker::ready("write", &database, &[&mode, &level, &seconds])
        } else {
            Worker::ready("read", &database, &[&seconds])
        }
    }

    fn add(
        &self,
        samples: &mut Samples,
        place: Place,
        before: Option<harness::Metrics>,
        done: Done,
    ) {
        samples.per_second.push(per_second(done));
        let (Some(before), Some(after)) = (before, self.places.metrics(place)) else {
            return;
        };
        // A node that does not count them must not look as if it needed none.
        if after.total("litefs_fuse_requests_total").is_some() {
            let transactions = done.transactions.max(1) as f64;
            let counted = before.fuse_requests_until(&after);
            samples
                .requests
                .push(counted.values().sum::<u64>() as f64 / transactions);
            samples.by_kind = counted
                .into_iter()
                .map(|(op, count)| (op, count as f64 / transactions))
                .collect();
        }
    }
}

fn per_second(done: Done) -> f64 {
    done.transactions as f64 / done.seconds
}
