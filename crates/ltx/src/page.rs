use std::{fmt, num::NonZeroU32};

use crate::Error;

/// Offset of the first of SQLite's lock bytes in every database file (file-format section 1.3.1, "The Lock-Byte
/// Page").
const LOCK_BYTES: u32 = 0x4000_0000;

/// Page number: counts the pages of a database, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pgno(NonZeroU32);

impl Pgno {
    /// The page with the database header.
    pub const FIRST: Pgno = Pgno(NonZeroU32::MIN);

    /// The page number, unless it is zero.
    pub const fn new(pgno: u32) -> Option<Pgno> {
        match NonZeroU32::new(pgno) {
            Some(pgno) => Some(Pgno(pgno)),
            None => None,
        }
    }

    /// The number, counted from 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The place of the page in an array of pages, counted from 0.
    pub const fn index(self) -> usize {
        self.get() as usize - 1
    }

    /// The page after this one, `None` after 2^32-1.
    pub const fn checked_next(self) -> Option<Pgno> {
        match self.0.checked_add(1) {
            Some(next) => Some(Pgno(next)),
            None => None,
        }
    }
}

impl fmt::Display for Pgno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Page size of a database: a power of two from 512 to 65536 bytes (SQLite file format, section 1.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PageSize(u32);

impl PageSize {
    /// The page size of this many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::PageSize`] unless it is a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Result<PageSize, Error> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 65536 {
            Ok(PageSize(bytes))
        } else {
            Err(Error::PageSize(bytes))
        }
    }

    /// Bytes of a page.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Bytes of a page, as the length of a buffer.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page with SQLite's lock bytes, which never has content and is part of no LTX file and no checksum.
    pub const fn lock_page(self) -> Pgno {
        match Pgno::new(LOCK_BYTES / self.0 + 1) {
            Some(pgno) => pgno,
            None => Pgno::FIRST, // a number above zero always is one
        }
    }

    /// Byte offset of the page in the database file.
    pub const fn offset(self, pgno: Pgno) -> u64 {
        (pgno.get() as u64 - 1) * self.0 as u64
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_the_powers_of_two_of_sqlite() {
        let accepted: Vec<u32> = (0..=200_000)
            .filter(|size| PageSize::new(*size).is_ok())
            .collect();
        assert_eq!(accepted, [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]);
        assert!(PageSize::new(1 << 31).is_err());
    }

    #[test]
    fn lock_page_holds_the_first_lock_byte() {
        for (size, lock) in [
            (512, 2_097_153),
            (1024, 1_048_577),
            (4096, 262_145),
            (65536, 16_385),
        ] {
            let size = PageSize::new(size).unwrap();
            assert_eq!(size.lock_page().get(), lock);
            assert_eq!(size.offset(size.lock_page()), 0x4000_0000);
        }
    }

    #[test]
    fn places_count_from_zero() {
        assert_eq!(Pgno::FIRST.index(), 0);
        assert_eq!(Pgno::new(0), None);
        assert_eq!(Pgno::new(u32::MAX).unwrap().checked_next(), None);
        let size = PageSize::new(65536).unwrap();
        assert_eq!(size.offset(Pgno::FIRST), 0);
        assert_eq!(
            size.offset(Pgno::new(u32::MAX).unwrap()),
            (u64::from(u32::MAX) - 1) * 65536
        );
    }
}
