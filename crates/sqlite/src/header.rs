//! The database header: the first 100 bytes of page 1.
//!
//! Source: "Database File Format", section "The Database Header". All integers are big-endian.

use ltx::PageSize;

use crate::Error;
use crate::bytes::{be32, field, prefix};

/// The 16 bytes a database file starts with.
pub const MAGIC: [u8; 16] = *b"SQLite format 3\0";

/// Offset of the page size, 2 bytes; 1 stands for 65536.
pub const OFFSET_PAGE_SIZE: usize = 16;
/// Offset of the file format write version, 1 byte: 1 rollback journal, 2 WAL.
pub const OFFSET_WRITE_VERSION: usize = 18;
/// Offset of the file format read version, 1 byte: 1 rollback journal, 2 WAL.
pub const OFFSET_READ_VERSION: usize = 19;
/// Offset of the number of bytes reserved at the end of each page, 1 byte.
pub const OFFSET_RESERVED: usize = 20;
/// Offset of the file change counter, 4 bytes.
pub const OFFSET_CHANGE_COUNTER: usize = 24;
/// Offset of the database size in pages, 4 bytes.
pub const OFFSET_PAGE_COUNT: usize = 28;
/// Offset of the page number of the first freelist trunk page, 4 bytes.
pub const OFFSET_FREELIST_TRUNK: usize = 32;
/// Offset of the number of freelist pages, 4 bytes.
pub const OFFSET_FREELIST_COUNT: usize = 36;
/// Offset of the schema cookie, 4 bytes.
pub const OFFSET_SCHEMA_COOKIE: usize = 40;
/// Offset of the version-valid-for number, 4 bytes: the change counter at the time the page count was written.
pub const OFFSET_VERSION_VALID_FOR: usize = 92;

/// The fields of a database header that replication needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseHeader {
    /// The page size in bytes.
    pub page_size: PageSize,
    /// File format write version.
    pub write_version: u8,
    /// File format read version.
    pub read_version: u8,
    /// Bytes reserved at the end of each page.
    pub reserved: u8,
    /// The file change counter. In WAL mode it changes only now and then.
    pub change_counter: u32,
    /// The in-header database size in pages; see [`DatabaseHeader::trusted_page_count`].
    pub page_count: u32,
    /// The first freelist trunk page, or 0.
    pub freelist_trunk: u32,
    /// The number of freelist pages, trunks included.
    pub freelist_count: u32,
    /// The schema cookie.
    pub schema_cookie: u32,
    /// The change counter for which `page_count` is valid.
    pub version_valid_for: u32,
}

impl DatabaseHeader {
    /// The size of the header in bytes.
    pub const SIZE: usize = 100;

    /// Reads the header from the start of page 1.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] for fewer than 100 bytes, [`Error::DatabaseMagic`] if this is no SQLite database,
    /// [`Error::PageSize`] for a page size no SQLite would accept. Other fields are reported as they are.
    pub fn parse(bytes: &[u8]) -> Result<DatabaseHeader, Error> {
        const WHAT: &str = "database header";
        let bytes: &[u8; DatabaseHeader::SIZE] = prefix(WHAT, bytes)?;
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::DatabaseMagic);
        }
        let raw_page_size = u16::from_be_bytes(field(bytes, OFFSET_PAGE_SIZE)).into();
        let page_size = PageSize::new(if raw_page_size == 1 {
            65536
        } else {
            raw_page_size
        })
        .map_err(|_| Error::PageSize {
            what: WHAT,
            value: raw_page_size,
        })?;
        Ok(DatabaseHeader {
            page_size,
            write_version: bytes[OFFSET_WRITE_VERSION],
            read_version: bytes[OFFSET_READ_VERSION],
            reserved: bytes[OFFSET_RESERVED],
            change_counter: be32(bytes, OFFSET_CHANGE_COUNTER),
            page_count: be32(bytes, OFFSET_PAGE_COUNT),
            freelist_trunk: be32(bytes, OFFSET_FREELIST_TRUNK),
            freelist_count: be32(bytes, OFFSET_FREELIST_COUNT),
            schema_cookie: be32(bytes, OFFSET_SCHEMA_COOKIE),
            version_valid_for: be32(bytes, OFFSET_VERSION_VALID_FOR),
        })
    }

    /// Whether the file format versions say WAL (both are 2).
    pub fn is_wal(&self) -> bool {
        self.write_version == 2 && self.read_version == 2
    }

    /// The in-header database size in pages, if it is valid: not zero, and written under the present change
    /// counter ("In-header database size"). Otherwise the size is that of the file.
    pub fn trusted_page_count(&self) -> Option<u32> {
        (self.page_count != 0 && self.change_counter == self.version_valid_for)
            .then_some(self.page_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; 100] {
        let mut bytes = [0; 100];
        bytes[..16].copy_from_slice(&MAGIC);
        bytes[16] = 16;
        bytes
    }

    #[test]
    fn errors_are_distinct() {
        assert!(matches!(
            DatabaseHeader::parse(&header()[..99]),
            Err(Error::Short {
                need: 100,
                got: 99,
                ..
            })
        ));
        let mut bytes = header();
        bytes[15] = b' ';
        assert!(matches!(
            DatabaseHeader::parse(&bytes),
            Err(Error::DatabaseMagic)
        ));
        bytes = header();
        bytes[17] = 1;
        assert!(matches!(
            DatabaseHeader::parse(&bytes),
            Err(Error::PageSize { value: 4097, .. })
        ));
        assert_eq!(
            DatabaseHeader::parse(&header()).unwrap().page_size.get(),
            4096
        );
    }

    #[test]
    fn page_count_counts_only_under_its_own_change_counter() {
        let mut bytes = header();
        assert_eq!(
            DatabaseHeader::parse(&bytes).unwrap().trusted_page_count(),
            None
        );
        bytes[OFFSET_PAGE_COUNT + 3] = 7;
        assert_eq!(
            DatabaseHeader::parse(&bytes).unwrap().trusted_page_count(),
            Some(7)
        );
        bytes[OFFSET_CHANGE_COUNTER] = 1;
        assert_eq!(
            DatabaseHeader::parse(&bytes).unwrap().trusted_page_count(),
            None
        );
        bytes[OFFSET_VERSION_VALID_FOR] = 1;
        assert_eq!(
            DatabaseHeader::parse(&bytes).unwrap().trusted_page_count(),
            Some(7)
        );
    }

    #[test]
    fn one_wal_version_is_not_wal_mode() {
        let mut bytes = header();
        bytes[OFFSET_READ_VERSION] = 2;
        assert!(!DatabaseHeader::parse(&bytes).unwrap().is_wal());
        bytes[OFFSET_WRITE_VERSION] = 2;
        assert!(DatabaseHeader::parse(&bytes).unwrap().is_wal());
    }
}
