//! The role is handed over as planned, under load.

use std::time::Duration;

use harness::history::{History, Outcome};

use crate::trial::{Begin, PATIENCE, SOON, Trial};

const HANDOFFS: usize = 6;
/// A process that waits for a lock is late on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// Each node becomes the primary in turn, more than once. The applications keep their connections all the time.
fn hand_over(journal_mode: &'static str) -> Option<History> {
    let trial = Trial::with(Begin {
        // Only planned changes: not because this machine is slow.
        ttl: Duration::from_secs(10),
        journal_mode,
        ..Begin::default()
    })?;
    let first = trial.primary();
    for number in 1..=HANDOFFS {
        let target = (first + number) % trial.fleet.nodes.len();
        trial.promote(target);
        assert_eq!(trial.fleet.await_primary(SOON), target);
        trial.works(target);
    }
    let history = trial.finish(true);
    assert_eq!(history.terms.len(), HANDOFFS + 1, "{:#?}", history.terms);
    assert!(history.asides.is_empty());
    Some(history)
}

/// Each failed write says one of `texts`, and some the first, after no more than its busy timeout. Such an error does not end the connection
/// of a recorder, and there is no other: so those that were refused have written through the same connection again.
#[track_caller]
fn assert_refusals(history: &History, texts: &[&str]) {
    let mut seen = vec![0; texts.len()];
    for write in &history.writes {
        if write.outcome == Outcome::Acknowledged || write.after == u64::MAX {
            continue;
        }
        let text = texts.iter().position(|text| write.text == *text);
        let text = text.unwrap_or_else(|| panic!("{} said {:?}", write.id, write.text));
        seen[text] += 1;
        let took = Duration::from_nanos(write.after - write.before);
        assert!(took < PATIENCE + LATE, "{} took {took:?}", write.id);
    }
    assert!(seen[0] > 0, "{texts:?}: {seen:?}");
}

/// Readers on all nodes have never seen an error.
#[track_caller]
fn assert_reads(history: &History) {
    for read in &history.reads {
        if let Err(error) = &read.result {
            panic!("a reader on node{} got {error}", read.node);
        }
    }
    for node in 0..3 {
        let of_it = history.reads.iter().filter(|read| read.node == node);
        assert!(of_it.count() > 20, "a reader on node{node}");
    }
}

#[test]
fn planned_handoffs_lose_nothing_in_wal_mode() {
    let Some(history) = hand_over("wal") else {
        return;
    };
    assert_refusals(&history, &["database is locked"]);
    assert_reads(&history);
}

#[test]
fn planned_handoffs_lose_nothing_in_delete_mode() {
    let Some(history) = hand_over("delete") else {
        return;
    };
    let texts = ["attempt to write a readonly database", "database is locked"];
    assert_refusals(&history, &texts);
    assert_reads(&history);
}
