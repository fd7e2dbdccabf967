//! When the replica was last level with the primary, by the primary's clock. Without network, store or clock.

use std::collections::{HashMap, VecDeque};

use ltx::{Pos, TxId};
use store::{DbName, Incarnation};

use crate::wire::PeerDatabase;

/// Heartbeats that are remembered while the replica is behind. More would only make the lag more exact.
const BEATS_MAX: usize = 64;

/// Where the primary was at a heartbeat, as far as the replica is not there yet.
#[derive(Debug, Default)]
struct Beat {
    primary_ms: i64,
    unmet: HashMap<DbName, (Incarnation, TxId)>,
}

/// Heartbeats that the replica has not caught up with, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    beats: VecDeque<Beat>,
    arriving: Beat,
}

impl Clock {
    /// A page of a heartbeat's positions, with where the replica is. After the last page: the primary's time up to
    /// which the replica is level, if that is news.
    pub(crate) fn page(
        &mut self,
        primary_ms: i64,
        page: impl IntoIterator<Item = PeerDatabase>,
        last: bool,
        mut ours: impl FnMut(&DbName) -> Option<(Incarnation, Pos)>,
    ) -> Option<i64> {
        self.arriving.primary_ms = primary_ms;
        for theirs in page {
            let met = ours(&theirs.name).is_some_and(|(incarnation, pos)| {
                incarnation == theirs.incarnation && pos.txid >= theirs.pos.txid
            });
            if !met && theirs.pos != Pos::EMPTY {
                self.arriving
                    .unmet
                    .insert(theirs.name, (theirs.incarnation, theirs.pos.txid));
            }
        }
        if !last {
            return None;
        }
        let beat = std::mem::take(&mut self.arriving);
        if beat.unmet.is_empty() {
            // Positions only grow: earlier heartbeats are met as well.
            self.beats.clear();
            return Some(beat.primary_ms);
        }
        if self.beats.len() < BEATS_MAX {
            self.beats.push_back(beat);
        }
        None
    }

    /// A transaction was applied. The primary's time up to which the replica is level, if that is news.
    pub(crate) fn applied(
        &mut self,
        name: &DbName,
        incarnation: Incarnation,
        pos: Pos,
    ) -> Option<i64> {
        self.meet(name, |(theirs, txid)| {
            theirs == incarnation && txid <= pos.txid
        })
    }

    /// A database is gone, on the primary as here.
    pub(crate) fn dropped(&mut self, name: &DbName) -> Option<i64> {
        self.arriving.unmet.remove(name);
        self.meet(name, |_| true)
    }

    fn meet(&mut self, name: &DbName, met: impl Fn((Incarnation, TxId)) -> bool) -> Option<i64> {
        for beat in &mut self.beats {
            if beat.unmet.get(name).is_some_and(|place| met(*place)) {
                beat.unmet.remove(name);
            }
        }
        let mut level = None;
        while self.beats.front().is_some_and(|beat| beat.unmet.is_empty()) {
            level = self.beats.pop_front().map(|beat| beat.primary_ms);
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ltx::Checksum;

    fn name(text: &str) -> DbName {
        DbName::new(text).unwrap()
    }

    fn pos(txid: u64) -> Pos {
        Pos::new(TxId::new(txid), Checksum::EMPTY)
    }

    fn life(number: u64) -> Incarnation {
        Incarnation::new(number)
    }

    fn theirs(db: &str, txid: u64) -> PeerDatabase {
        PeerDatabase {
            history: Default::default(),
            name: name(db),
            incarnation: life(1),
            pos: pos(txid),
            busy: false,
        }
    }

    fn at(txid: u64) -> impl FnMut(&DbName) -> Option<(Incarnation, Pos)> {
        move |_| Some((life(1), pos(txid)))
    }

    #[test]
    fn level_at_once_when_nothing_is_missing() {
        let mut clock = Clock::default();
        assert_eq!(clock.page(100, [theirs("a", 5)], true, at(5)), Some(100));
        assert_eq!(clock.page(200, [], true, at(0)), Some(200));
    }

    #[test]
    fn level_later_when_the_last_database_has_arrived_there() {
        let mut clock = Clock::default();
        assert_eq!(clock.page(100, [theirs("a", 5)], false, at(4)), None);
        assert_eq!(
            clock.page(100, [theirs("b", 4), theirs("c", 6)], true, at(4)),
            None
        );
        assert_eq!(
            clock.page(
                200,
                [theirs("a", 7), theirs("b", 4), theirs("c", 6)],
                true,
                at(4)
            ),
            None
        );
        assert_eq!(clock.applied(&name("a"), life(1), pos(6)), None);
        assert_eq!(
            clock.applied(&name("c"), life(2), pos(6)),
            None,
            "another life of the database"
        );
        assert_eq!(clock.applied(&name("c"), life(1), pos(6)), Some(100));
        assert_eq!(clock.applied(&name("a"), life(1), pos(7)), Some(200));
        assert_eq!(clock.applied(&name("a"), life(1), pos(8)), None);
    }

    #[test]
    fn a_database_that_is_gone_holds_nothing_up() {
        let mut clock = Clock::default();
        assert_eq!(
            clock.page(100, [theirs("a", 5), theirs("b", 5)], true, |_| None),
            None
        );
        assert_eq!(clock.applied(&name("b"), life(1), pos(5)), None);
        assert_eq!(clock.dropped(&name("a")), Some(100));
    }

    #[test]
    fn heartbeats_are_not_collected_without_bound() {
        let mut clock = Clock::default();
        for beat in 0..1000 {
            clock.page(beat, [theirs("a", 9)], true, at(0));
        }
        assert_eq!(clock.beats.len(), BEATS_MAX);
    }
}
