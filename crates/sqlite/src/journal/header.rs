use ltx::PageSize;

use crate::Error;
use crate::bytes::{be32, prefix};

/// The 8 bytes a valid journal header starts with.
pub const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The sizes of the padded header that SQLite accepts.
const SECTOR_SIZES: std::ops::RangeInclusive<u32> = 32..=65536;

/// The header of a segment of a rollback journal.
///
/// In later segments SQLite looks at `records`, `nonce` and `initial_page_count` only; sector and page size are
/// those of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalHeader {
    /// The raw number of records. 0xffffffff says that the records go on to the end of the file (written with
    /// `synchronous=OFF`).
    pub records: u32,
    /// A random number that begins each record's checksum.
    pub nonce: u32,
    /// The size of the database in pages before the transaction; 0 for a database that is just being created.
    pub initial_page_count: u32,
    /// The size of the header in bytes: the sector size as the writer assumed it.
    pub sector_size: u32,
    /// The page size before the transaction, in bytes: `VACUUM` may have changed it since.
    pub page_size: PageSize,
}

impl JournalHeader {
    /// The size of the fields in bytes. In the file they are padded to `sector_size`.
    pub const SIZE: usize = 28;

    /// The raw count that stands for all records up to the end of the file.
    pub const RECORDS_TO_END: u32 = 0xffff_ffff;

    /// Reads the header of the first segment.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] for fewer than 28 bytes, [`Error::JournalMagic`], [`Error::JournalSectorSize`],
    /// [`Error::PageSize`].
    pub fn parse(bytes: &[u8]) -> Result<JournalHeader, Error> {
        const WHAT: &str = "rollback journal";
        let bytes: &[u8; JournalHeader::SIZE] = prefix(WHAT, bytes)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::JournalMagic);
        }
        let sector_size = be32(bytes, 20);
        if !sector_size.is_power_of_two() || !SECTOR_SIZES.contains(&sector_size) {
            return Err(Error::JournalSectorSize(sector_size));
        }
        let raw_page_size = be32(bytes, 24);
        let page_size = PageSize::new(raw_page_size).map_err(|_| Error::PageSize {
            what: WHAT,
            value: raw_page_size,
        })?;
        Ok(JournalHeader {
            records: be32(bytes, 8),
            nonce: be32(bytes, 12),
            initial_page_count: be32(bytes, 16),
            sector_size,
            page_size,
        })
    }

    /// Reads the header of a later segment, whose sector and page size do not count. `None` without magic.
    pub(super) fn parse_next(&self, bytes: &[u8; JournalHeader::SIZE]) -> Option<JournalHeader> {
        bytes.starts_with(&MAGIC).then(|| JournalHeader {
            records: be32(bytes, 8),
            nonce: be32(bytes, 12),
            initial_page_count: be32(bytes, 16),
            ..*self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sector_size: u32, page_size: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for field in [1, 2, 3, sector_size, page_size] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn fields_are_in_order() {
        let header = JournalHeader::parse(&bytes(4096, 65536)).unwrap();
        assert_eq!(
            (header.records, header.nonce, header.initial_page_count),
            (1, 2, 3)
        );
        assert_eq!((header.sector_size, header.page_size.get()), (4096, 65536));
    }

    #[test]
    fn errors_are_distinct() {
        let parse = |sector_size, page_size| JournalHeader::parse(&bytes(sector_size, page_size));
        assert!(matches!(
            JournalHeader::parse(&bytes(512, 512)[..27]),
            Err(Error::Short { need: 28, .. })
        ));
        assert!(matches!(
            JournalHeader::parse(&[0; 28]),
            Err(Error::JournalMagic)
        ));
        for bad in [0, 16, 513, 131_072] {
            assert!(
                matches!(parse(bad, 512), Err(Error::JournalSectorSize(value)) if value == bad)
            );
        }
        assert!(matches!(
            parse(32, 0),
            Err(Error::PageSize { value: 0, .. })
        ));
    }
}
