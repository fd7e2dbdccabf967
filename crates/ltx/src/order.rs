use crate::{Error, Header, Pgno, Result};

/// The rules on which pages a file has, in which order: the same for writing and for reading.
pub(crate) struct PageOrder {
    snapshot: bool,
    commit: u32,
    lock_page: Pgno,
    previous: Option<Pgno>,
}

impl PageOrder {
    pub(crate) fn new(header: &Header) -> PageOrder {
        PageOrder {
            snapshot: header.is_snapshot(),
            commit: header.commit,
            lock_page: header.page_size.lock_page(),
            previous: None,
        }
    }

    /// Takes the next page.
    pub(crate) fn accept(&mut self, pgno: Pgno) -> Result<()> {
        if pgno.get() > self.commit {
            return Err(Error::PageBeyondCommit {
                pgno,
                commit: self.commit,
            });
        }
        if pgno == self.lock_page {
            return Err(Error::LockPage(pgno));
        }
        if let Some(previous) = self.previous.filter(|previous| *previous >= pgno) {
            return Err(Error::PageOrder { pgno, previous });
        }
        if self.snapshot
            && let Some(missing) = self.successor().filter(|expected| *expected != pgno)
        {
            return Err(Error::SnapshotIncomplete {
                missing,
                commit: self.commit,
            });
        }
        self.previous = Some(pgno);
        Ok(())
    }

    /// Takes the end of the pages.
    pub(crate) fn end(&self) -> Result<()> {
        match self.successor() {
            Some(missing) if self.snapshot && missing.get() <= self.commit => {
                Err(Error::SnapshotIncomplete {
                    missing,
                    commit: self.commit,
                })
            }
            _ => Ok(()),
        }
    }

    /// The page after the previous one, with the lock page left out.
    fn successor(&self) -> Option<Pgno> {
        let next = match self.previous {
            None => Pgno::FIRST,
            Some(previous) => previous.checked_next()?,
        };
        if next == self.lock_page {
            next.checked_next()
        } else {
            Some(next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checksum, PageSize, TxId};

    fn order(min_txid: u64, commit: u32) -> PageOrder {
        PageOrder::new(&Header {
            page_size: PageSize::new(65536).unwrap(), // lock page 16385
            commit,
            min_txid: TxId::new(min_txid),
            max_txid: TxId::new(9),
            timestamp_ms: 0,
            pre_apply_checksum: Checksum::NONE,
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: 0,
        })
    }

    fn take(order: &mut PageOrder, pages: impl IntoIterator<Item = u32>) -> Result<()> {
        pages
            .into_iter()
            .try_for_each(|pgno| order.accept(Pgno::new(pgno).unwrap()))
    }

    #[test]
    fn increments_ascend() {
        assert!(take(&mut order(2, 20_000), [3, 4, 16_384, 16_386, 20_000]).is_ok());
        assert!(order(2, 20_000).end().is_ok());
        assert!(matches!(
            take(&mut order(2, 9), [3, 3]),
            Err(Error::PageOrder { .. })
        ));
        assert!(matches!(
            take(&mut order(2, 9), [3, 2]),
            Err(Error::PageOrder { .. })
        ));
        assert!(matches!(
            take(&mut order(2, 9), [10]),
            Err(Error::PageBeyondCommit { .. })
        ));
        assert!(matches!(
            take(&mut order(2, 0), [1]),
            Err(Error::PageBeyondCommit { .. })
        ));
        assert!(matches!(
            take(&mut order(2, 20_000), [16_385]),
            Err(Error::LockPage(_))
        ));
    }

    #[test]
    fn snapshots_are_complete() {
        assert!(order(1, 0).end().is_ok());
        assert!(matches!(
            order(1, 1).end(),
            Err(Error::SnapshotIncomplete { .. })
        ));
        assert!(matches!(
            take(&mut order(1, 9), [2]),
            Err(Error::SnapshotIncomplete { .. })
        ));
        assert!(matches!(
            take(&mut order(1, 9), [1, 3]),
            Err(Error::SnapshotIncomplete { .. })
        ));
    }

    #[test]
    fn snapshots_pass_over_the_lock_page() {
        for commit in [16_384, 16_385, 16_386, 16_387] {
            let mut whole = order(1, commit);
            take(&mut whole, (1..=commit).filter(|pgno| *pgno != 16_385)).unwrap();
            assert!(whole.end().is_ok(), "{commit}");
        }
        let mut short = order(1, 16_386);
        take(&mut short, 1..=16_384).unwrap();
        assert!(
            matches!(short.end(), Err(Error::SnapshotIncomplete { missing, .. }) if missing.get() == 16_386)
        );
        assert!(matches!(
            short.accept(Pgno::new(16_385).unwrap()),
            Err(Error::LockPage(_))
        ));
    }

    #[test]
    fn the_last_page_number_has_no_successor() {
        let mut order = order(2, u32::MAX);
        take(&mut order, [u32::MAX]).unwrap();
        assert!(order.end().is_ok());
    }
}
