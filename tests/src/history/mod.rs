//! What applications did on several nodes at once, and whether what came of it is right.
//!
//! A [`Recorder`] is an application on one node that writes all the time, each time something that nobody else writes,
//! and notes when it tried and what SQLite said. An [`Observer`] reads all the time. [`Terms`] are when which node said
//! it was the primary. Afterwards [`collect`] adds what the nodes have and what they have put aside, and [`check`] says
//! what does not fit together.
//!
//! All times are nanoseconds of CLOCK_MONOTONIC, which is one clock for all processes of a machine.

mod check;
mod collect;
mod event;
mod observe;
mod record;
mod recorder;
mod terms;
mod violation;

pub use check::check;
pub use collect::{asides, finals};
pub use event::{Outcome, Read, Seen, Write, WriteId};
pub use observe::run_observer;
pub use record::{Pace, TABLE, run_recorder};
pub use recorder::{Observer, Recorder};
pub use terms::{Span, Term, Terms};
pub use violation::Violation;

/// What one node has at the end, or what one node has put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The node.
    pub node: u32,
    /// The bytes of the export, or a digest of them.
    pub digest: u64,
    /// The writes in it, in the order in which they were committed.
    pub rows: Vec<WriteId>,
}

/// Everything that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What was tried.
    pub writes: Vec<Write>,
    /// What was read.
    pub reads: Vec<Read>,
    /// Who was the primary. None at all: nothing is said about it.
    pub terms: Vec<Term>,
    /// What each node has at the end.
    pub finals: Vec<Content>,
    /// What was put aside.
    pub asides: Vec<Content>,
    /// The role has only ever been handed over as planned: nothing may be lost.
    pub planned: bool,
}

/// Panics with what is wrong, and how much of what there was.
#[track_caller]
pub fn assert_right(history: &History) {
    let violations = check(history);
    let shown: Vec<String> = violations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        violations.is_empty(),
        "{} violations in a history of {} writes, {} reads, {} terms:\n{}\nterms: {:#?}",
        violations.len(),
        history.writes.len(),
        history.reads.len(),
        history.terms.len(),
        shown.join("\n"),
        history.terms,
    );
}

/// Now: nanoseconds of CLOCK_MONOTONIC, as all times here.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .expect("there is such a clock");
    let seconds = u64::try_from(time.tv_sec()).expect("it began at zero");
    let rest = u64::try_from(time.tv_nsec()).expect("a part of a second");
    seconds * 1_000_000_000 + rest
}
