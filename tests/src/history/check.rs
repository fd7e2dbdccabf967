//! The check of a history.

use std::collections::{HashMap, HashSet};

use super::violation::Violation;
use super::{Content, History, Outcome, Span, Term, Write, WriteId};

/// Everything that is wrong with a history; empty if nothing is.
pub fn check(history: &History) -> Vec<Violation> {
    let checker = Checker::new(history);
    let mut violations = Vec::new();
    checker.equal_nodes(&mut violations);
    for content in history.finals.first().into_iter().chain(&history.asides) {
        checker.rows(content, &mut violations);
        checker.order(content, &mut violations);
    }
    checker.acknowledged(&mut violations);
    checker.reads(&mut violations);
    if !history.terms.is_empty() {
        checker.terms(&mut violations);
        checker.writes_in_terms(&mut violations);
        checker.interleaving(&mut violations);
        checker.fencing(&mut violations);
    }
    violations
}

struct Checker<'a> {
    history: &'a History,
    writes: HashMap<WriteId, &'a Write>,
    /// What the first node has at the end; the others have the same, or that is a violation.
    last: HashSet<WriteId>,
    /// The rank of each term: by epoch if all have one, else by time.
    ranked: Vec<(u64, Term)>,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Checker<'a> {
        let writes = history.writes.iter().map(|write| (write.id, write));
        let last = history.finals.first().map(|content| &content.rows);
        Checker {
            history,
            writes: writes.collect(),
            last: last.into_iter().flatten().copied().collect(),
            ranked: ranked(&history.terms),
        }
    }

    fn acknowledged_writes(&self) -> impl Iterator<Item = &'a Write> {
        let writes = self.history.writes.iter();
        writes.filter(|write| write.outcome == Outcome::Acknowledged)
    }

    fn equal_nodes(&self, violations: &mut Vec<Violation>) {
        for pair in self.history.finals.windows(2) {
            if (pair[0].digest, &pair[0].rows) != (pair[1].digest, &pair[1].rows) {
                violations.push(Violation::NodesDiffer {
                    one: pair[0].node,
                    other: pair[1].node,
                });
            }
        }
    }

    fn rows(&self, content: &Content, violations: &mut Vec<Violation>) {
        let mut seen = HashSet::new();
        for &id in &content.rows {
            if !seen.insert(id) {
                violations.push(Violation::Twice(id));
            }
            match self.writes.get(&id).map(|write| write.outcome) {
                None => violations.push(Violation::FromNowhere(id)),
                Some(Outcome::Refused) => violations.push(Violation::Phantom(id)),
                Some(_) => {}
            }
        }
    }

    /// The order of the commits is one in which they can have happened: real time is respected.
    fn order(&self, content: &Content, violations: &mut Vec<Violation>) {
        let mut earliest: Option<&Write> = None;
        for id in content.rows.iter().rev() {
            let Some(write) = self.writes.get(id) else {
                continue;
            };
            if let Some(later) = earliest.filter(|later| write.before > later.after) {
                violations.push(Violation::OutOfOrder {
                    first: write.id,
                    second: later.id,
                });
            }
            let is_acknowledged = write.outcome == Outcome::Acknowledged;
            if is_acknowledged && earliest.is_none_or(|later| write.after < later.after) {
                earliest = Some(write);
            }
        }
    }

    fn acknowledged(&self, violations: &mut Vec<Violation>) {
        let asides = self.history.asides.iter();
        let aside: HashSet<WriteId> = asides.flat_map(|content| &content.rows).copied().collect();
        for write in self.acknowledged_writes() {
            if self.last.contains(&write.id) {
                continue;
            }
            if !aside.contains(&write.id) {
                violations.push(Violation::Vanished(write.id));
            }
            if self.history.planned {
                violations.push(Violation::LostInHandover(write.id));
            }
        }
    }

    fn reads(&self, violations: &mut Vec<Violation>) {
        for read in &self.history.reads {
            let Ok(Some(seen)) = &read.result else {
                continue;
            };
            let write = self.writes.get(&seen.newest);
            if write.is_none_or(|write| write.before > read.after) {
                violations.push(Violation::ReadFromNowhere {
                    node: read.node,
                    seen: seen.newest,
                });
            }
        }
    }

    fn terms(&self, violations: &mut Vec<Violation>) {
        let terms = &self.history.terms;
        for (number, one) in terms.iter().enumerate() {
            for other in terms[number + 1..]
                .iter()
                .filter(|other| other.node != one.node)
            {
                let (a, b) = (one.certain, other.certain);
                // Of a term with a single answer nothing is certain.
                let whole = a.from <= a.to && b.from <= b.to;
                if whole && a.meets(b) {
                    violations.push(Violation::TermsOverlap {
                        one: one.node,
                        other: other.node,
                        at: a.from.max(b.from),
                    });
                }
                if let Some(epoch) = one.epoch.filter(|epoch| other.epoch == Some(*epoch)) {
                    violations.push(Violation::SameEpoch {
                        one: one.node,
                        other: other.node,
                        epoch,
                    });
                }
            }
        }
    }

    fn writes_in_terms(&self, violations: &mut Vec<Violation>) {
        for write in self.acknowledged_writes() {
            if self.ranks(write).next().is_none() {
                violations.push(Violation::OutsideOfTerms(write.id));
            }
        }
    }

    /// Each commit is of the term of the one before it, or of a later one.
    fn interleaving(&self, violations: &mut Vec<Violation>) {
        let rows = self.history.finals.first().map(|content| &content.rows);
        let mut now: Option<(u64, WriteId)> = None;
        for id in rows.into_iter().flatten() {
            let Some(write) = self.writes.get(id) else {
                continue;
            };
            let (least, first) = now.map_or((0, *id), |(rank, id)| (rank, id));
            if let Some(rank) = self.ranks(write).filter(|rank| *rank >= least).min() {
                now = Some((rank, *id));
            } else if write.outcome == Outcome::Acknowledged && self.ranks(write).next().is_some() {
                violations.push(Violation::TermsInterleave { first, second: *id });
            }
        }
    }

    /// What an old primary takes after a new one has taken something is lost, and should have been refused.
    fn fencing(&self, violations: &mut Vec<Violation>) {
        let is_kept = |write: &&Write| self.last.contains(&write.id);
        for lost in self.acknowledged_writes().filter(|write| !is_kept(write)) {
            let Some(last_rank) = self.ranks(lost).max() else {
                continue;
            };
            let newer = self.acknowledged_writes().filter(is_kept).find(|newer| {
                newer.id.node != lost.id.node
                    && newer.after < lost.before
                    && self.ranks(newer).min().is_some_and(|rank| rank > last_rank)
            });
            if let Some(newer) = newer {
                violations.push(Violation::NotFenced {
                    lost: lost.id,
                    newer: newer.id,
                });
            }
        }
    }

    /// The ranks of the terms in which a write may have been committed.
    fn ranks(&self, write: &Write) -> impl Iterator<Item = u64> {
        let (node, span) = (
            write.id.node,
            Span {
                from: write.before,
                to: write.after,
            },
        );
        self.ranked
            .iter()
            .filter(move |(_, term)| term.node == node && term.possible.meets(span))
            .map(|(rank, _)| *rank)
    }
}

fn ranked(terms: &[Term]) -> Vec<(u64, Term)> {
    let epochs: Option<Vec<u64>> = terms.iter().map(|term| term.epoch).collect();
    match epochs {
        Some(epochs) => epochs.into_iter().zip(terms.iter().copied()).collect(),
        None => {
            let mut terms = terms.to_vec();
            terms.sort_by_key(|term| term.certain.from);
            (0..).zip(terms).collect()
        }
    }
}
