//! A slow look at all pages, in the background, on every node: does the file hold what the page-checksum table says?
//!
//! A page that does not is damaged on the disk, or was written past the mount. The position does not change: others
//! have the right page. A replica asks the primary for the content again; on the primary an operator has to act.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ltx::{Checksum, Pgno};

use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::Error;
use crate::name::FileKind;
use crate::status::Mode;
use crate::store::Store;
use crate::view::{Locked, View, pages_of};

/// Bytes that are read in one go. The locks of a reader are held for so long.
const PIECE: u32 = 1024 * 1024;

/// The pause after a piece: so at most about 16 MiB in a second.
const PAUSE: Duration = Duration::from_millis(60);

/// More damaged pages than this are not listed.
const LISTED: usize = 1000;

/// One database on its way through a pass.
struct Walk {
    db: Weak<Database>,
    next: u32,
    found: BTreeSet<u32>,
}

/// What is to be compared, and with what.
struct Piece {
    view: View,
    expected: Vec<(Pgno, Checksum)>,
    /// The page after the piece; `None` at the end.
    next: Option<u32>,
}

/// What came of a piece.
struct Scrubbed {
    damaged: Vec<u32>,
    /// The page after the piece; `None` at the end.
    next: Option<u32>,
}

/// Begins a pass whenever the interval is over, for as long as the store lives.
pub(crate) fn start(store: &Arc<Store>) {
    let interval = store.env().config.scrub_interval;
    if !interval.is_zero() {
        later(&Arc::downgrade(store), store, interval, Vec::new());
    }
}

fn later(weak: &Weak<Store>, store: &Store, after: Duration, walks: Vec<Walk>) {
    let weak = weak.clone();
    store.env().later(after, move || {
        if let Some(store) = weak.upgrade() {
            step(&weak, &store, walks);
        }
    });
}

/// The next piece of the last database of `walks`; with none left a new pass begins.
fn step(weak: &Weak<Store>, store: &Store, mut walks: Vec<Walk>) {
    let interval = store.env().config.scrub_interval;
    if walks.is_empty() {
        walks = store.databases().iter().map(Walk::new).collect();
    }
    let Some(mut walk) = walks.pop() else {
        return later(weak, store, interval, walks);
    };
    if walk.go_on() {
        walks.push(walk);
    }
    let pause = if walks.is_empty() { interval } else { PAUSE };
    later(weak, store, pause, walks);
}

impl Walk {
    fn new(db: &Arc<Database>) -> Walk {
        Walk {
            db: Arc::downgrade(db),
            next: 1,
            found: BTreeSet::new(),
        }
    }

    /// One piece. `false` at the end, or if the database cannot be looked at now.
    fn go_on(&mut self) -> bool {
        let Some(db) = self.db.upgrade() else {
            return false;
        };
        match db.scrub(self.next) {
            Ok(Some(Scrubbed { damaged, next })) => {
                self.found.extend(damaged);
                if let Some(next) = next {
                    self.next = next;
                    return true;
                }
                let found = std::mem::take(&mut self.found);
                let listed = found.into_iter().take(LISTED).collect();
                db.shared.update(|state| state.damaged = listed);
                false
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(database = %db.name(), error = error.chain(), "not scrubbed this time");
                false
            }
        }
    }
}

impl Database {
    /// Compares pages from `first` on with the table; the damaged ones, and where to go on. `None` if there is nothing
    /// to compare with at the moment.
    fn scrub(&self, first: u32) -> Result<Option<Scrubbed>, Error> {
        let Some(piece) = self.piece(first, u32::MAX)? else {
            return Ok(None);
        };
        let mut damaged = Vec::new();
        let suspects: Vec<u32> = piece.differing()?;
        let next = piece.next;
        drop(piece);
        for pgno in suspects {
            // Once more, on its own: what is reported must not be a slip of ours.
            let Some(again) = self.piece(pgno, 1)? else {
                continue;
            };
            if !again.differing()?.is_empty() {
                self.report(pgno, &again)?;
                damaged.push(pgno);
            }
        }
        Ok(Some(Scrubbed { damaged, next }))
    }

    fn piece(&self, first: u32, at_most: u32) -> Result<Option<Piece>, Error> {
        let _own = self.shared.env.own.enter();
        let locked = self.lock_as_reader()?;
        self.call(move |core| core.piece(locked, first, at_most))?
    }

    fn report(&self, pgno: u32, piece: &Piece) -> Result<(), Error> {
        let path = self.shared.dir.file(FileKind::Database);
        let offset = u64::from(pgno - 1) * u64::from(piece.view.page_size().get());
        tracing::error!(database = %self.name(), page = pgno, path = %path.display(), offset,
            "a page is not what was written to it: damaged on the disk, or changed past the mount");
        self.shared.update(|state| {
            if state.damaged.len() < LISTED {
                state.damaged.insert(pgno);
            }
        });
        if !self.shared.env.is_replica() {
            return Ok(());
        }
        let Some(&(pgno, expected)) = piece.expected.first() else {
            return Ok(());
        };
        let actual = piece.actual(pgno)?;
        self.call(move |core| core.give_up_page(pgno, expected, actual))
    }
}

impl Piece {
    /// Pages that are not what they should be.
    fn differing(&self) -> Result<Vec<u32>, Error> {
        let mut page = Vec::new();
        let mut differing = Vec::new();
        for &(pgno, checksum) in &self.expected {
            self.view.read(pgno, &mut page)?;
            if ltx::page_checksum(pgno, &page) != checksum {
                differing.push(pgno.get());
            }
        }
        Ok(differing)
    }

    fn actual(&self, pgno: Pgno) -> Result<Checksum, Error> {
        let mut page = Vec::new();
        self.view.read(pgno, &mut page)?;
        Ok(ltx::page_checksum(pgno, &page))
    }
}

impl Core {
    /// A view of the database, and what the table says of some pages of that view.
    fn piece(&mut self, locked: Locked, first: u32, at_most: u32) -> Result<Option<Piece>, Error> {
        let known = self.settled && self.latched.is_none() && self.unfinished.is_none();
        if !known || !matches!(self.mode(), Mode::Wal | Mode::Rollback) {
            return Ok(None);
        }
        let (view, index) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
        match index {
            Some(index) => self.capture_up_to(&index)?,
            None => self.capture(Occasion::Wake)?,
        }
        let same = view.page_count() == self.table.page_count()
            && Some(view.page_size()) == self.page_size
            && self.shared.dirty.lock().is_empty();
        if !same {
            return Ok(None);
        }
        let pages = (PIECE / view.page_size().get()).max(1).min(at_most);
        let last = first.saturating_add(pages - 1).min(view.page_count());
        let expected = pages_of(view.page_size(), last)
            .skip_while(|pgno| pgno.get() < first)
            .map(|pgno| (pgno, self.table.get(pgno)))
            .collect();
        let next = (last < view.page_count()).then_some(last + 1);
        Ok(Some(Piece {
            view,
            expected,
            next,
        }))
    }

    /// On a replica: the table says what the page really is, so that the primary's content, which is asked for, is
    /// written over it.
    fn give_up_page(&mut self, pgno: Pgno, expected: Checksum, actual: Checksum) {
        if self.table.get(pgno) == expected {
            self.table.set(pgno, actual);
            self.shared.wants_content.store(true, Ordering::Release);
        }
    }
}
