//! When which node said that it was the primary.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::now;
use crate::node::Node;

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(20);

/// A time from and to, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its begin.
    pub from: u64,
    /// Its end; for ever if it has none.
    pub to: u64,
}

impl Span {
    /// Whether both have a moment in common.
    pub fn meets(self, other: Span) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// A time in which a node was the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The node.
    pub node: u32,
    /// Its epoch, where the node says it.
    pub epoch: Option<u64>,
    /// It was not longer than this.
    pub possible: Span,
    /// It was at least this.
    pub certain: Span,
}

/// What a node answered.
#[derive(Debug, Clone, Copy)]
struct Answer {
    asked: u64,
    answered: u64,
    primary: bool,
    epoch: Option<u64>,
}

/// Asks nodes all the time, each on a thread of its own, until it is finished or dropped. A node may be ended and
/// started meanwhile; its port must stay.
#[derive(Debug)]
pub struct Terms {
    over: Arc<AtomicBool>,
    nodes: Vec<(u32, Arc<Mutex<Vec<Answer>>>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Terms {
    /// Asks these nodes; they are counted from 0.
    pub fn watch(nodes: &[Node]) -> Terms {
        let over = Arc::new(AtomicBool::new(false));
        let mut terms = Terms {
            over: over.clone(),
            nodes: Vec::new(),
            threads: Vec::new(),
        };
        for (number, node) in (0..).zip(nodes) {
            let answers = Arc::new(Mutex::new(Vec::new()));
            let (api, into, over) = (node.api(), answers.clone(), over.clone());
            terms.nodes.push((number, answers));
            terms.threads.push(std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let asked = now();
                    if let Some(info) = api.info_within(Duration::from_secs(1)) {
                        let answer = Answer {
                            asked,
                            answered: now(),
                            primary: info.is_primary,
                            epoch: info.lease.epoch,
                        };
                        into.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(answer);
                    }
                    std::thread::sleep(INTERVAL);
                }
            }));
        }
        terms
    }

    /// The terms so far, ordered by node and time.
    pub fn so_far(&self) -> Vec<Term> {
        let mut terms = Vec::new();
        for (node, answers) in &self.nodes {
            let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            terms.extend(terms_of(*node, &answers));
        }
        terms
    }

    /// Ends it: all terms.
    pub fn finish(mut self) -> Vec<Term> {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Terms {
    fn drop(&mut self) {
        self.end();
    }
}

/// An answer is true for some moment between question and answer. No answer says nothing: a node that cannot be asked
/// may be the primary for as long as it last said so.
fn terms_of(node: u32, answers: &[Answer]) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    let mut before: Option<Answer> = None;
    for answer in answers {
        let same = before.is_some_and(|before| before.primary && before.epoch == answer.epoch);
        if let Some(term) = terms.last_mut().filter(|term| term.possible.to == u64::MAX) {
            if answer.primary && same {
                term.certain.to = answer.asked;
            } else {
                term.possible.to = answer.answered;
            }
        }
        if answer.primary && !same {
            terms.push(Term {
                node,
                epoch: answer.epoch,
                possible: Span {
                    from: before.map_or(0, |before| before.asked),
                    to: u64::MAX,
                },
                certain: Span {
                    from: answer.answered,
                    // Of one answer nothing is certain but some moment.
                    to: answer.asked,
                },
            });
        }
        before = Some(*answer);
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked: u64, primary: bool, epoch: u64) -> Answer {
        Answer {
            asked,
            answered: asked + 5,
            primary,
            epoch: Some(epoch),
        }
    }

    #[test]
    fn a_term_is_at_least_between_its_answers_and_at_most_between_the_others() {
        let answers = [
            answer(100, false, 1),
            answer(200, true, 2),
            answer(300, true, 2),
            answer(400, true, 2),
            answer(500, false, 3),
        ];
        let terms = terms_of(7, &answers);
        let expected = Term {
            node: 7,
            epoch: Some(2),
            possible: Span { from: 100, to: 505 },
            certain: Span { from: 205, to: 400 },
        };
        assert_eq!(terms, [expected]);
        // One after the other, and one that has not ended.
        let answers = [answer(100, true, 2), answer(200, true, 3)];
        let terms = terms_of(0, &answers);
        assert_eq!(terms[0].possible, Span { from: 0, to: 205 });
        assert_eq!(
            terms[1].possible,
            Span {
                from: 100,
                to: u64::MAX
            }
        );
        assert!(terms[0].certain.from > terms[0].certain.to, "one answer");
    }

    #[test]
    fn spans_meet_if_they_have_a_moment_in_common() {
        let span = |from, to| Span { from, to };
        assert!(span(1, 3).meets(span(3, 5)) && span(3, 5).meets(span(1, 3)));
        assert!(span(1, 9).meets(span(3, 5)));
        assert!(!span(1, 2).meets(span(3, 5)) && !span(3, 5).meets(span(1, 2)));
    }
}
