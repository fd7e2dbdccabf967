//! The history of a database: in which terms its transactions were made. By it two nodes find out where they parted
//! without reading the transactions.

use std::fs;
use std::path::Path;

use ltx::{Checksum, Pos, TxId};

use crate::error::{Error, IoContext};
use crate::layout;
use crate::role::Epoch;

/// So many terms are kept, the latest ones.
const CHAPTERS: usize = 64;

/// The part of a history that one term wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chapter {
    /// The term.
    pub epoch: Epoch,
    /// Where the database was when its first transaction was made.
    pub start: Pos,
}

/// The terms that wrote to a database, the earliest first: epochs and positions grow. What came before the first one is
/// not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History(Vec<Chapter>);

/// How a position of another node stands to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// As far as the histories tell it is one that we had, too, or will have from it.
    Together,
    /// It has transactions of its own after this TXID.
    Forked(TxId),
    /// The histories have nothing in common.
    Unknown,
}

impl History {
    /// Of these chapters, as far as they are in order.
    pub fn new(chapters: impl IntoIterator<Item = Chapter>) -> History {
        let mut history = History::default();
        for chapter in chapters {
            history.begin(chapter);
        }
        history
    }

    /// Its chapters, the earliest first.
    pub fn chapters(&self) -> &[Chapter] {
        &self.0
    }

    /// The last term that wrote.
    pub fn epoch(&self) -> Epoch {
        self.0.last().map_or(Epoch::default(), |last| last.epoch)
    }

    /// A term makes its first transaction. `false` if it is not a later one.
    pub(crate) fn begin(&mut self, chapter: Chapter) -> bool {
        let follows = self
            .0
            .last()
            .is_none_or(|last| last.epoch < chapter.epoch && last.start.txid <= chapter.start.txid);
        if follows {
            if self.0.len() == CHAPTERS {
                self.0.remove(0);
            }
            self.0.push(chapter);
        }
        follows
    }

    /// A term makes its first transaction here, after `start`. What was to come after that, had it come, is void.
    pub(crate) fn begin_at(&mut self, epoch: Epoch, start: Pos) -> bool {
        if self.epoch() >= epoch {
            return false;
        }
        self.0.retain(|chapter| chapter.start.txid <= start.txid);
        self.begin(Chapter { epoch, start })
    }

    /// How `theirs`, another node's history up to `their_pos`, stands to this one up to `pos`.
    pub fn part_from(&self, pos: Pos, theirs: &History, their_pos: Pos) -> Parting {
        // The lists may begin at different terms: only so much is kept.
        let Some((ours, theirs)) = self.aligned(theirs) else {
            return Parting::Unknown;
        };
        let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        if common == 0 {
            return Parting::Unknown;
        }
        let end = |chapters: &[Chapter], last: Pos| {
            chapters.get(common).map_or(last, |next| next.start).txid
        };
        let parted = end(ours, pos).min(end(theirs, their_pos));
        if their_pos.txid <= parted {
            Parting::Together
        } else {
            Parting::Forked(parted)
        }
    }

    /// Both from the first chapter on that both have.
    fn aligned<'a>(&'a self, other: &'a History) -> Option<(&'a [Chapter], &'a [Chapter])> {
        let first = self.0.iter().find(|chapter| other.0.contains(chapter))?;
        let from = |history: &'a History| {
            let at = history.0.iter().position(|chapter| chapter == first)?;
            history.0.get(at..)
        };
        Some((from(self)?, from(other)?))
    }

    /// Reads what was saved. A file that cannot be read as one is a history that is not known: positions tell the rest.
    pub(crate) fn load(path: &Path) -> Result<History, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(History::new(text.lines().map_while(parse))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(History::default()),
            Err(error) => Err(error).during("read", path),
        }
    }

    /// Saves it: whole or not at all, and durable with the next sync of anything. It is no more than a hint after a crash
    /// of the machine.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let lines = self.0.iter().map(|chapter| {
            let Chapter { epoch, start } = chapter;
            format!(
                "{epoch} {} {:016x}\n",
                start.txid.get(),
                start.checksum.get()
            )
        });
        layout::write_whole(path, lines.collect::<String>().as_bytes())
    }
}

fn parse(line: &str) -> Option<Chapter> {
    let mut words = line.split_whitespace();
    let epoch = Epoch::new(words.next()?.parse().ok()?);
    let txid = TxId::new(words.next()?.parse().ok()?);
    let checksum = Checksum::from_raw(u64::from_str_radix(words.next()?, 16).ok()?);
    let start = Pos { txid, checksum };
    Some(Chapter { epoch, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pos(txid: u64) -> Pos {
        Pos {
            txid: TxId::new(txid),
            checksum: Checksum::from_raw(1 << 63 | txid),
        }
    }

    fn history(chapters: &[(u64, u64)]) -> History {
        History::new(chapters.iter().map(|&(epoch, start)| Chapter {
            epoch: Epoch::new(epoch),
            start: pos(start),
        }))
    }

    #[test]
    fn a_former_primary_parts_where_the_next_term_began() {
        let old = history(&[(1, 0), (5, 80)]);
        let new = history(&[(1, 0), (5, 80), (6, 115)]);
        let fork = |theirs| new.part_from(pos(130), &old, pos(theirs));
        assert_eq!(fork(120), Parting::Forked(TxId::new(115)));
        assert_eq!(fork(115), Parting::Together);
        assert_eq!(fork(90), Parting::Together);
        // It has been further, also, in its own term.
        let own = history(&[(1, 0), (5, 80), (7, 100)]);
        assert_eq!(
            new.part_from(pos(130), &own, pos(105)),
            Parting::Forked(TxId::new(100))
        );
        // The next term wrote nothing yet: what the old one has more of is not known here.
        assert_eq!(
            old.part_from(pos(115), &old, pos(120)),
            Parting::Forked(TxId::new(115))
        );
    }

    #[test]
    fn only_what_both_know_is_compared() {
        let long = history(&[(1, 0), (2, 10), (3, 20)]);
        let cut = history(&[(2, 10), (3, 20), (4, 25)]);
        assert_eq!(
            cut.part_from(pos(30), &long, pos(28)),
            Parting::Forked(TxId::new(25))
        );
        assert_eq!(cut.part_from(pos(30), &long, pos(22)), Parting::Together);
        let stranger = history(&[(9, 0)]);
        assert_eq!(cut.part_from(pos(30), &stranger, pos(3)), Parting::Unknown);
        assert_eq!(
            cut.part_from(pos(30), &History::default(), pos(3)),
            Parting::Unknown
        );
    }

    #[test]
    fn chapters_grow_and_the_earliest_go() {
        let mut history = history(&[(2, 10)]);
        let chapter = |epoch, start| Chapter {
            epoch: Epoch::new(epoch),
            start: pos(start),
        };
        assert!(!history.begin(chapter(2, 12)) && !history.begin(chapter(3, 9)));
        let mut cut = history.clone();
        assert!(!cut.begin_at(Epoch::new(2), pos(12)));
        assert!(cut.begin_at(Epoch::new(3), pos(9)));
        assert_eq!(cut.chapters(), [chapter(3, 9)]);
        for epoch in 3..200 {
            assert!(history.begin(chapter(epoch, epoch * 10)));
        }
        assert_eq!(history.chapters().len(), CHAPTERS);
        assert_eq!(history.epoch(), Epoch::new(199));
    }

    #[test]
    fn it_is_found_again_as_far_as_it_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        assert_eq!(History::load(&path).unwrap(), History::default());
        let saved = history(&[(1, 0), (5, 80)]);
        saved.save(&path).unwrap();
        assert_eq!(History::load(&path).unwrap(), saved);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}nonsense\n9 9 9\n")).unwrap();
        assert_eq!(History::load(&path).unwrap(), saved);
    }
}
