use ltx::PageSize;

use crate::Error;
use crate::bytes::{be32, field, prefix};
use crate::wal::{NATIVE_BIG_ENDIAN, Salts, WalChecksum};

/// The only format version there is, the same number as that of a -wal file.
const VERSION: u32 = 3_007_000;

/// The header of a wal-index: what the last commit of the log is ("The WAL-Index Header").
///
/// Two copies stand at the start of the first block. A reader believes them if they are equal and the checksum
/// is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalIndexHeader {
    /// Grows by one with each transaction.
    pub change: u32,
    /// False while nobody has built the index yet.
    pub is_init: bool,
    /// Whether the checksums of the log are over big-endian words.
    pub big_endian_checksum: bool,
    /// The page size of the log in bytes; `None` if there was no frame in it since the index was built.
    pub page_size: Option<PageSize>,
    /// The last committed frame, 0 if the log is empty.
    pub mx_frame: u32,
    /// The size of the database in pages after that commit.
    pub page_count: u32,
    /// The checksum of frame `mx_frame`. Without a frame it is not that of the -wal header.
    pub frame_checksum: WalChecksum,
    /// The salts of the log; after a restart those of the -wal header that is still to be written.
    pub salts: Salts,
}

impl WalIndexHeader {
    /// The size of one copy in bytes.
    pub const SIZE: usize = 48;

    /// Decodes one copy, in the host's byte order.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] for fewer than 48 bytes, [`Error::WalIndexChecksum`], [`Error::WalIndexVersion`] (also
    /// for an index that is all zero), [`Error::PageSize`]. A header that is not initialised is no error.
    pub fn parse(bytes: &[u8]) -> Result<WalIndexHeader, Error> {
        const WHAT: &str = "wal-index header";
        let bytes: &[u8; WalIndexHeader::SIZE] = prefix(WHAT, bytes)?;
        let stored = WalChecksum {
            s1: native32(bytes, 40),
            s2: native32(bytes, 44),
        };
        if WalChecksum::ZERO.update(NATIVE_BIG_ENDIAN, &bytes[..40]) != stored {
            return Err(Error::WalIndexChecksum);
        }
        match native32(bytes, 0) {
            VERSION => {}
            version => return Err(Error::WalIndexVersion(version)),
        }
        Ok(WalIndexHeader {
            change: native32(bytes, 8),
            is_init: bytes[12] != 0,
            big_endian_checksum: bytes[13] != 0,
            page_size: decode_page_size(native16(field(bytes, 14)))
                .map_err(|value| Error::PageSize { what: WHAT, value })?,
            mx_frame: native32(bytes, 16),
            page_count: native32(bytes, 20),
            frame_checksum: WalChecksum {
                s1: native32(bytes, 24),
                s2: native32(bytes, 28),
            },
            salts: Salts {
                salt1: be32(bytes, 32),
                salt2: be32(bytes, 36),
            },
        })
    }

    /// The header as one copy of it stands in the index, in the host's byte order, with its checksum.
    pub fn encode(&self) -> [u8; WalIndexHeader::SIZE] {
        let mut bytes = [0; WalIndexHeader::SIZE];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&to_native(value));
        put(0, VERSION);
        put(8, self.change);
        put(16, self.mx_frame);
        put(20, self.page_count);
        put(24, self.frame_checksum.s1);
        put(28, self.frame_checksum.s2);
        bytes[12] = self.is_init.into();
        bytes[13] = self.big_endian_checksum.into();
        let page_size = self.page_size.map_or(0, encode_page_size);
        bytes[14..16].copy_from_slice(&if NATIVE_BIG_ENDIAN {
            page_size.to_be_bytes()
        } else {
            page_size.to_le_bytes()
        });
        // As in the -wal header, so that SQLite can compare them byte by byte.
        bytes[32..40].copy_from_slice(&self.salts.encode());
        let checksum = WalChecksum::ZERO.update(NATIVE_BIG_ENDIAN, &bytes[..40]);
        bytes[40..44].copy_from_slice(&to_native(checksum.s1));
        bytes[44..].copy_from_slice(&to_native(checksum.s2));
        bytes
    }
}

/// 65536 does not fit 16 bits: 1 stands for it. 0 is an index without a page size.
fn encode_page_size(page_size: PageSize) -> u16 {
    u16::try_from(page_size.get()).unwrap_or(1)
}

fn decode_page_size(raw: u16) -> Result<Option<PageSize>, u32> {
    match raw {
        0 => Ok(None),
        1 => PageSize::new(65536).map(Some).map_err(|_| 1),
        raw => PageSize::new(raw.into()).map(Some).map_err(|_| raw.into()),
    }
}

fn native32(bytes: &[u8; WalIndexHeader::SIZE], at: usize) -> u32 {
    from_native(field(bytes, at))
}

fn native16(bytes: [u8; 2]) -> u16 {
    if NATIVE_BIG_ENDIAN {
        u16::from_be_bytes(bytes)
    } else {
        u16::from_le_bytes(bytes)
    }
}

pub(super) fn from_native(bytes: [u8; 4]) -> u32 {
    if NATIVE_BIG_ENDIAN {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

pub(super) fn to_native(value: u32) -> [u8; 4] {
    if NATIVE_BIG_ENDIAN {
        value.to_be_bytes()
    } else {
        value.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(page_size: Option<u32>) -> WalIndexHeader {
        WalIndexHeader {
            change: 1,
            is_init: true,
            big_endian_checksum: true,
            page_size: page_size.map(|size| PageSize::new(size).unwrap()),
            mx_frame: 2,
            page_count: 3,
            frame_checksum: WalChecksum { s1: 4, s2: 5 },
            salts: Salts {
                salt1: 0x0102_0304,
                salt2: 0x0506_0708,
            },
        }
    }

    #[test]
    fn round_trips_each_page_size() {
        for page_size in [None, Some(512), Some(4096), Some(32768), Some(65536)] {
            let header = header(page_size);
            assert_eq!(WalIndexHeader::parse(&header.encode()).unwrap(), header);
        }
    }

    #[test]
    fn salts_are_big_endian_and_the_rest_native() {
        let bytes = header(None).encode();
        assert_eq!(bytes[32..40], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(from_native(field(&bytes, 16)), 2);
    }

    #[test]
    fn damage_is_found() {
        let bytes = header(Some(4096)).encode();
        for at in 0..WalIndexHeader::SIZE {
            let mut damaged = bytes;
            damaged[at] ^= 0x40;
            assert!(
                matches!(
                    WalIndexHeader::parse(&damaged),
                    Err(Error::WalIndexChecksum)
                ),
                "byte {at}"
            );
        }
        assert!(matches!(
            WalIndexHeader::parse(&bytes[..47]),
            Err(Error::Short { .. })
        ));
        assert!(matches!(
            WalIndexHeader::parse(&[0; 48]),
            Err(Error::WalIndexVersion(0))
        ));
    }

    #[test]
    fn a_page_size_that_is_no_power_of_two_is_refused() {
        let mut bytes = header(Some(4096)).encode();
        bytes[14] = 2;
        let sum = WalChecksum::ZERO.update(NATIVE_BIG_ENDIAN, &bytes[..40]);
        bytes[40..44].copy_from_slice(&to_native(sum.s1));
        bytes[44..].copy_from_slice(&to_native(sum.s2));
        assert!(matches!(
            WalIndexHeader::parse(&bytes),
            Err(Error::PageSize { .. })
        ));
    }
}
