//! A database file as LTX files change it.

use ltx::{Checksum, PageSize, page_checksum};

use crate::fixture::{self, pgno};

/// The pages of a database, the first at index 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Database {
    pub(crate) page_size: PageSize,
    pub(crate) pages: Vec<Vec<u8>>,
}

impl Database {
    pub(crate) fn empty(page_size: PageSize) -> Database {
        Database {
            page_size,
            pages: Vec::new(),
        }
    }

    /// Does what applying a file to a database file does: writes pages, cuts off or extends with zeros.
    pub(crate) fn apply(&mut self, file: &[u8]) {
        let content = fixture::read(file).unwrap();
        assert_eq!(content.header.page_size, self.page_size);
        self.pages.resize(
            content.header.commit as usize,
            vec![0; self.page_size.bytes()],
        );
        for (pgno, page) in content.pages {
            self.pages[pgno.index()] = page;
        }
        assert_eq!(self.checksum(), content.trailer.post_apply_checksum);
    }

    pub(crate) fn checksum(&self) -> Checksum {
        (1..)
            .zip(&self.pages)
            .fold(Checksum::EMPTY, |sum, (number, page)| {
                sum.toggled(page_checksum(pgno(number), page))
            })
    }
}
