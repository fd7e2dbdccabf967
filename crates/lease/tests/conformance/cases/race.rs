//! Many nodes that take the lease from each other.

use std::sync::Arc;
use std::time::Duration;

use lease::{Leaser, Outcome, Version};
use tokio::time::Instant;

use crate::backend::{Backend, record, renewed, soon};

const NODES: u64 = 8;
const FOR: Duration = Duration::from_secs(2);

/// The lease in the hands of one node, without a break.
struct Term {
    epoch: u64,
    first: Version,
    last: Version,
}

pub(crate) async fn no_two_at_a_time(backend: Box<dyn Backend>) {
    let end = Instant::now() + FOR;
    let racers: Vec<_> = (1..=NODES)
        .map(|id| tokio::spawn(race(backend.node(), id, end)))
        .collect();
    let mut terms = Vec::new();
    let mut refused = 0;
    for racer in racers {
        let (had, lost) = racer.await.unwrap();
        terms.extend(had);
        refused += lost;
    }
    assert!(
        terms.len() > 20 && refused > 20,
        "{} {refused}",
        terms.len()
    );
    terms.sort_by_key(|term| term.epoch);
    for pair in terms.windows(2) {
        assert!(pair[0].epoch < pair[1].epoch, "an epoch was had twice");
        assert!(
            pair[0].last < pair[1].first,
            "epoch {} was renewed at {:?}, and epoch {} began at {:?}",
            pair[0].epoch,
            pair[0].last,
            pair[1].epoch,
            pair[1].first
        );
    }
    let last = soon(backend.node().survey()).await.last_epoch.unwrap();
    assert_eq!(Some(last.epoch), terms.last().map(|term| term.epoch));
}

async fn race(node: Arc<dyn Leaser>, id: u64, end: Instant) -> (Vec<Term>, u64) {
    let mut terms = Vec::new();
    let mut refused = 0;
    while Instant::now() < end {
        let survey = soon(node.survey()).await;
        let epoch = survey.last_epoch.map_or(0, |last| last.epoch) + 1;
        tokio::task::yield_now().await;
        let mine = record(id, epoch);
        let Outcome::Done(first) = soon(node.acquire(&survey, &mine)).await else {
            refused += 1;
            continue;
        };
        let mut term = Term {
            epoch,
            first,
            last: first,
        };
        for n in 1.. {
            tokio::task::yield_now().await;
            match soon(node.renew(term.last, &renewed(&mine, n))).await {
                Outcome::Done(version) => term.last = version,
                Outcome::Refused => break,
            }
            if Instant::now() >= end {
                break;
            }
        }
        terms.push(term);
    }
    (terms, refused)
}
