//! The answer to doubt: compare the whole database with the table and make one transaction of the difference.

use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::error::Error;
use crate::status::Mode;
use crate::transaction::{ChangedPages, Extent};
use crate::view::{Locked, View, chain_at};

impl Core {
    /// Compares, publishes the difference if there is one, and goes on from there.
    pub(crate) fn diff(&mut self, why: &str) -> Result<(), Error> {
        tracing::warn!(database = %self.name(), pos = %self.pos(), why, "comparing the whole database");
        match self.mode() {
            Mode::Wal => {
                let locked = Locked::take(self.env(), self.name(), self.dir(), true)?;
                let (view, index) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
                // The view's own mark goes with it.
                self.move_read_mark()?;
                self.publish_difference(&view)?;
                match index.as_ref().and_then(chain_at) {
                    Some(chain) => self.set_chain(chain),
                    None => self.forget_generation(),
                }
                Ok(())
            }
            Mode::Rollback | Mode::Empty => {
                let locked = Locked::take(self.env(), self.name(), self.dir(), false)?;
                let (view, _) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
                self.publish_difference(&view)
            }
            Mode::NotSqlite => Ok(()),
        }
    }

    /// Publishes the pages of `view` that are not as the table says. `true` if there was anything.
    pub(crate) fn publish_difference(&mut self, view: &View) -> Result<(), Error> {
        let page_size = view.page_size();
        let same_size = self.page_size.is_none_or(|known| known == page_size);
        // Without a table nothing is known of what others have.
        let whole = self.pos().txid.is_zero() || !same_size || self.table.page_count() == 0;
        let mut changed = ChangedPages::new();
        let mut page = Vec::new();
        for pgno in view.pages() {
            view.read(pgno, &mut page)?;
            let checksum = ltx::page_checksum(pgno, &page);
            if whole || checksum != self.table.get(pgno) {
                changed.push((pgno, checksum));
            }
        }
        if changed.is_empty() && view.page_count() == self.table.page_count() {
            return Ok(());
        }
        if !same_size {
            self.table = Default::default();
        }
        let extent = if whole {
            Extent::Snapshot
        } else {
            Extent::Commits(1)
        };
        let transaction = self.encode(
            extent,
            page_size,
            view.page_count(),
            changed,
            |pgno, page| view.read(pgno, page),
        )?;
        self.publish(transaction)?;
        self.shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
