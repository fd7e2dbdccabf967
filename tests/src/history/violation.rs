//! What can be wrong with a history.

use std::fmt;

use super::WriteId;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Two nodes have different bytes at the end.
    NodesDiffer {
        /// One.
        one: u32,
        /// The other.
        other: u32,
    },
    /// A write was acknowledged, and is neither in the final database nor aside.
    Vanished(WriteId),
    /// A write was acknowledged and is not in the final database, though nothing happened that may lose one.
    LostInHandover(WriteId),
    /// A write was refused, and is there.
    Phantom(WriteId),
    /// Nobody tried this write, and it is there.
    FromNowhere(WriteId),
    /// A write is there more than once.
    Twice(WriteId),
    /// `first` comes before `second` in the database, but began after that was acknowledged.
    OutOfOrder {
        /// It is committed first.
        first: WriteId,
        /// It was acknowledged first.
        second: WriteId,
    },
    /// A write was acknowledged on a node that was not the primary at any moment of it.
    OutsideOfTerms(WriteId),
    /// In the database a write of an earlier term follows on one of a later term: two primaries published at once.
    TermsInterleave {
        /// It is of a later term.
        first: WriteId,
        /// It follows, and is of an earlier one.
        second: WriteId,
    },
    /// A node that was no longer the primary acknowledged `lost`, which began after `newer` was acknowledged by a
    /// primary of a later term, and which is not part of the database.
    NotFenced {
        /// What the old primary took.
        lost: WriteId,
        /// What the new one had taken.
        newer: WriteId,
    },
    /// Two nodes were the primary at the same moment.
    TermsOverlap {
        /// One.
        one: u32,
        /// The other.
        other: u32,
        /// A common moment.
        at: u64,
    },
    /// Two nodes had the same epoch.
    SameEpoch {
        /// One.
        one: u32,
        /// The other.
        other: u32,
        /// Their epoch.
        epoch: u64,
    },
    /// A reader saw a write that had not begun.
    ReadFromNowhere {
        /// Where it read.
        node: u32,
        /// What it saw.
        seen: WriteId,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NodesDiffer { one, other } => {
                write!(f, "node{one} and node{other} have different databases")
            }
            Violation::Vanished(id) => {
                write!(
                    f,
                    "{id} was acknowledged and is neither in the database nor aside"
                )
            }
            Violation::LostInHandover(id) => {
                write!(
                    f,
                    "{id} was acknowledged and is missing after a planned handover"
                )
            }
            Violation::Phantom(id) => write!(f, "{id} was refused and is there"),
            Violation::FromNowhere(id) => write!(f, "{id} is there and nobody wrote it"),
            Violation::Twice(id) => write!(f, "{id} is there twice"),
            Violation::OutOfOrder { first, second } => write!(
                f,
                "{first} is committed before {second} but began after that was acknowledged"
            ),
            Violation::OutsideOfTerms(id) => {
                write!(
                    f,
                    "{id} was acknowledged on a node that was not the primary"
                )
            }
            Violation::TermsInterleave { first, second } => {
                write!(
                    f,
                    "{second}, of an earlier term, is committed after {first}"
                )
            }
            Violation::NotFenced { lost, newer } => write!(
                f,
                "{lost} was acknowledged and lost, and began when a later primary had acknowledged {newer}"
            ),
            Violation::TermsOverlap { one, other, at } => {
                write!(
                    f,
                    "node{one} and node{other} were both the primary at {at} ns"
                )
            }
            Violation::SameEpoch { one, other, epoch } => {
                write!(f, "node{one} and node{other} both had epoch {epoch}")
            }
            Violation::ReadFromNowhere { node, seen } => {
                write!(
                    f,
                    "a reader on node{node} saw {seen} before anybody wrote it"
                )
            }
        }
    }
}
