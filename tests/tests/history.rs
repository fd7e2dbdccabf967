//! The check of histories: each thing that can be wrong is found, and nothing is found in a history that is right.

use harness::history::{
    Content, History, Outcome, Read, Seen, Span, Term, Violation, Write, WriteId, check,
};

fn id(node: u32, seq: u32) -> WriteId {
    WriteId { node, seq }
}

fn write(node: u32, seq: u32, before: u64, outcome: Outcome) -> Write {
    Write {
        id: id(node, seq),
        before,
        after: before + 10,
        outcome,
        text: String::new(),
    }
}

fn acknowledged(node: u32, seq: u32, before: u64) -> Write {
    write(node, seq, before, Outcome::Acknowledged)
}

fn term(node: u32, epoch: u64, from: u64, to: u64) -> Term {
    Term {
        node,
        epoch: Some(epoch),
        possible: Span { from, to },
        certain: Span {
            from: from + 5,
            to: to - 5,
        },
    }
}

/// node0 is the primary until 1000, node1 from 1020, node0 again from 2020. At the first change a write of node0 is
/// lost and put aside; each node has a write that was refused, and one whose end nobody knows.
fn right() -> History {
    let unknown = |node, seq, before| Write {
        after: u64::MAX,
        ..write(node, seq, before, Outcome::Unknown)
    };
    let writes = vec![
        acknowledged(0, 1, 100),
        write(1, 1, 100, Outcome::Refused),
        acknowledged(0, 2, 200),
        acknowledged(0, 3, 900),
        unknown(0, 4, 950),
        write(0, 5, 1050, Outcome::Refused),
        acknowledged(1, 2, 1100),
        acknowledged(1, 3, 1200),
        unknown(1, 4, 1300),
        acknowledged(0, 6, 2100),
    ];
    // What nobody heard of has happened in one case, and in the other not.
    let rows = vec![id(0, 1), id(0, 2), id(1, 2), id(1, 3), id(1, 4), id(0, 6)];
    let content = |node, rows: &[WriteId]| Content {
        node,
        digest: 1,
        rows: rows.to_vec(),
    };
    History {
        writes,
        reads: vec![
            read(1, 300, Some(id(0, 2))),
            read(0, 905, Some(id(0, 3))),
            read(0, 50, None),
        ],
        terms: vec![
            term(0, 1, 0, 1000),
            term(1, 2, 1020, 2000),
            term(0, 3, 2020, 9000),
        ],
        finals: vec![content(0, &rows), content(1, &rows), content(2, &rows)],
        asides: vec![content(0, &[id(0, 1), id(0, 2), id(0, 3)])],
        planned: false,
    }
}

fn read(node: u32, before: u64, newest: Option<WriteId>) -> Read {
    Read {
        node,
        before,
        after: before + 3,
        result: Ok(newest.map(|newest| Seen { count: 1, newest })),
    }
}

/// What is found after `change`.
fn found(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = right();
    change(&mut history);
    check(&history)
}

/// Changes the rows of all nodes.
fn in_all(history: &mut History, change: impl Fn(&mut Vec<WriteId>)) {
    for content in &mut history.finals {
        change(&mut content.rows);
    }
}

#[test]
fn nothing_is_wrong_with_what_is_right() {
    assert_eq!(check(&right()), []);
    assert_eq!(check(&History::default()), []);
    // Without epochs the terms are in the order of time.
    let without = found(|history| history.terms.iter_mut().for_each(|term| term.epoch = None));
    assert_eq!(without, []);
    // Nothing is known about the terms.
    assert_eq!(found(|history| history.terms.clear()), []);
    // Errors of readers are for the test to judge.
    let failed = found(|history| history.reads[0].result = Err("locked".to_owned()));
    assert_eq!(failed, []);
}

#[test]
fn nodes_that_differ() {
    let expected = [Violation::NodesDiffer { one: 1, other: 2 }];
    assert_eq!(found(|history| history.finals[2].digest = 2), expected);
    let rows = found(|history| {
        history.finals[2].rows.pop();
    });
    assert_eq!(rows, expected);
}

#[test]
fn acknowledged_writes_that_are_nowhere() {
    let aside = found(|history| history.asides.clear());
    assert_eq!(aside, [Violation::Vanished(id(0, 3))]);
    let gone = found(|history| in_all(history, |rows| rows.retain(|row| *row != id(1, 3))));
    assert_eq!(gone, [Violation::Vanished(id(1, 3))]);
}

#[test]
fn what_a_planned_handover_must_not_lose() {
    let lost = found(|history| history.planned = true);
    assert_eq!(lost, [Violation::LostInHandover(id(0, 3))]);
}

#[test]
fn writes_that_should_not_be_there() {
    let phantom = found(|history| in_all(history, |rows| rows.insert(0, id(1, 1))));
    assert_eq!(phantom, [Violation::Phantom(id(1, 1))]);
    let aside = found(|history| history.asides[0].rows.push(id(0, 5)));
    assert_eq!(aside, [Violation::Phantom(id(0, 5))]);
    let nobody = found(|history| in_all(history, |rows| rows.push(id(7, 7))));
    assert_eq!(nobody, [Violation::FromNowhere(id(7, 7))]);
    let twice = found(|history| in_all(history, |rows| rows.push(id(0, 6))));
    assert_eq!(twice, [Violation::Twice(id(0, 6))]);
}

#[test]
fn an_order_that_time_forbids() {
    let swapped = found(|history| in_all(history, |rows| rows.swap(0, 1)));
    let expected = Violation::OutOfOrder {
        first: id(0, 2),
        second: id(0, 1),
    };
    assert_eq!(swapped, std::slice::from_ref(&expected));
    let aside = found(|history| history.asides[0].rows.swap(0, 1));
    assert_eq!(aside, [expected]);
    // At the same time either order will do.
    let together = found(|history| {
        history.writes[0].after = 205;
        in_all(history, |rows| rows.swap(0, 1));
    });
    assert_eq!(together, []);
}

#[test]
fn terms_that_interleave() {
    // node0 goes on publishing while node1 has begun: its writes are under way at the same time, so that time alone
    // forbids nothing.
    let mixed = found(|history| {
        history.writes[2].after = 1150;
        in_all(history, |rows| rows.swap(1, 2));
    });
    let expected = Violation::TermsInterleave {
        first: id(1, 2),
        second: id(0, 2),
    };
    assert_eq!(mixed, [expected]);
}

#[test]
fn writes_outside_of_every_term_of_their_node() {
    let outside = found(|history| {
        (history.writes[7].before, history.writes[7].after) = (2005, 2010);
    });
    assert_eq!(outside, [Violation::OutsideOfTerms(id(1, 3))]);
}

#[test]
fn an_old_primary_that_goes_on() {
    // Its application is told that the write was committed, and a later primary had committed before it began.
    let late = found(|history| {
        (history.writes[3].before, history.writes[3].after) = (1150, 1160);
        // It could not be asked: nobody knows when its term ended.
        history.terms[0].possible.to = 2020;
    });
    let expected = Violation::NotFenced {
        lost: id(0, 3),
        newer: id(1, 2),
    };
    assert_eq!(late[1..], [expected]);
    // A reader saw it on the way, which is another matter.
    assert!(matches!(
        late[0],
        Violation::ReadFromNowhere { node: 0, .. }
    ));
}

#[test]
fn two_primaries_at_once() {
    let both = found(|history| history.terms[0].certain.to = 1030);
    let expected = Violation::TermsOverlap {
        one: 0,
        other: 1,
        at: 1025,
    };
    assert_eq!(both, [expected]);
    // One answer is not enough to say so.
    let once = found(|history| {
        history.terms[1].certain = Span { from: 990, to: 980 };
    });
    assert_eq!(once, []);
    let epoch = found(|history| history.terms[1].epoch = Some(3));
    let expected = Violation::SameEpoch {
        one: 1,
        other: 0,
        epoch: 3,
    };
    assert_eq!(epoch, [expected]);
    // One node may say so twice: it could not be asked in between.
    let again = found(|history| history.terms[2].epoch = Some(1));
    assert!(
        again
            .iter()
            .all(|found| !matches!(found, Violation::SameEpoch { .. }))
    );
}

#[test]
fn a_read_of_what_was_not_written() {
    let slow = found(|history| history.reads[0].before = 10);
    assert_eq!(slow, [], "it may have seen it at its end");
    let future = found(|history| history.reads.push(read(1, 10, Some(id(0, 2)))));
    let expected = Violation::ReadFromNowhere {
        node: 1,
        seen: id(0, 2),
    };
    assert_eq!(future, [expected]);
    let nobody = found(|history| history.reads.push(read(1, 10, Some(id(9, 9)))));
    assert_eq!(nobody.len(), 1);
}
