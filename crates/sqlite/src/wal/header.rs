use ltx::PageSize;

use crate::Error;
use crate::bytes::{be32, prefix};
use crate::wal::{NATIVE_BIG_ENDIAN, WalChecksum};

/// The magic of a log whose checksums are over little-endian words; the lowest bit set says big-endian ones.
const MAGIC: u32 = 0x377f_0682;

/// The only format version there is.
pub(crate) const VERSION: u32 = 3_007_000;

/// The two numbers that tell one generation of a log from the next. Each frame repeats those of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salts {
    /// Grows by one at each restart of the log; random in a new file.
    pub salt1: u32,
    /// Random.
    pub salt2: u32,
}

impl Salts {
    /// The salts after a restart of the log; `random` must be a fresh random number. Salts alone prove no
    /// continuity: SQLite also draws two random ones in a number of cases.
    #[must_use]
    pub fn next(self, random: u32) -> Salts {
        Salts {
            salt1: self.salt1.wrapping_add(1),
            salt2: random,
        }
    }

    /// As they stand in a -wal file and in a wal-index: two big-endian words.
    pub(crate) fn encode(self) -> [u8; 8] {
        (u64::from(self.salt1) << 32 | u64::from(self.salt2)).to_be_bytes()
    }
}

/// The header of a -wal file ("WAL Header Format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalHeader {
    /// The page size of the frames in bytes.
    pub page_size: PageSize,
    /// The checkpoint sequence number. SQLite counts it per connection, so that it proves nothing.
    pub checkpoint_seq: u32,
    /// The salts of this generation.
    pub salts: Salts,
    /// Whether checksums, that of this header included, are over big-endian words.
    pub big_endian_checksum: bool,
    /// The checksum of the first 24 bytes, from which that of the first frame continues.
    pub checksum: WalChecksum,
}

impl WalHeader {
    /// The size of the header in bytes.
    pub const SIZE: usize = 32;

    /// The header of a log begun on this host, with checksums in its byte order, as SQLite would have it.
    pub fn new(page_size: PageSize, checkpoint_seq: u32, salts: Salts) -> WalHeader {
        let mut header = WalHeader {
            page_size,
            checkpoint_seq,
            salts,
            big_endian_checksum: NATIVE_BIG_ENDIAN,
            checksum: WalChecksum::ZERO,
        };
        header.checksum = header.computed_checksum();
        header
    }

    /// Reads the header from the start of a -wal file.
    ///
    /// # Errors
    ///
    /// [`Error::Short`], [`Error::WalMagic`], [`Error::PageSize`], [`Error::WalChecksum`] if SQLite would take
    /// the whole log for absent (it does so also for a short file); [`Error::WalVersion`] if it would refuse to
    /// open the database.
    pub fn parse(bytes: &[u8]) -> Result<WalHeader, Error> {
        const WHAT: &str = "wal header";
        let bytes: &[u8; WalHeader::SIZE] = prefix(WHAT, bytes)?;
        let magic = be32(bytes, 0);
        if magic & !1 != MAGIC {
            return Err(Error::WalMagic(magic));
        }
        let raw_page_size = be32(bytes, 8);
        let page_size = PageSize::new(raw_page_size).map_err(|_| Error::PageSize {
            what: WHAT,
            value: raw_page_size,
        })?;
        let header = WalHeader {
            page_size,
            checkpoint_seq: be32(bytes, 12),
            salts: Salts {
                salt1: be32(bytes, 16),
                salt2: be32(bytes, 20),
            },
            big_endian_checksum: magic & 1 == 1,
            checksum: WalChecksum {
                s1: be32(bytes, 24),
                s2: be32(bytes, 28),
            },
        };
        if WalChecksum::ZERO.update(header.big_endian_checksum, &bytes[..24]) != header.checksum {
            return Err(Error::WalChecksum);
        }
        match be32(bytes, 4) {
            VERSION => Ok(header),
            version => Err(Error::WalVersion(version)),
        }
    }

    /// The header as it stands in the file. Its checksum is computed from the other fields, whatever
    /// `self.checksum` says.
    pub fn encode(&self) -> [u8; WalHeader::SIZE] {
        let mut bytes = self.encode_unsummed();
        let checksum = self.computed_checksum();
        bytes[24..28].copy_from_slice(&checksum.s1.to_be_bytes());
        bytes[28..].copy_from_slice(&checksum.s2.to_be_bytes());
        bytes
    }

    fn encode_unsummed(&self) -> [u8; WalHeader::SIZE] {
        let mut bytes = [0; WalHeader::SIZE];
        bytes[..4].copy_from_slice(&(MAGIC | u32::from(self.big_endian_checksum)).to_be_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.get().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.checkpoint_seq.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.salts.encode());
        bytes
    }

    fn computed_checksum(&self) -> WalChecksum {
        WalChecksum::ZERO.update(self.big_endian_checksum, &self.encode_unsummed()[..24])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(page_size: u32, big_endian_checksum: bool) -> WalHeader {
        let salts = Salts {
            salt1: u32::MAX,
            salt2: 7,
        };
        let mut header = WalHeader::new(PageSize::new(page_size).unwrap(), 3, salts);
        header.big_endian_checksum = big_endian_checksum;
        header.checksum = header.computed_checksum();
        header
    }

    #[test]
    fn round_trips_in_both_byte_orders() {
        for page_size in [512, 4096, 65536] {
            for big_endian in [false, true] {
                let header = header(page_size, big_endian);
                let bytes = header.encode();
                assert_eq!(bytes[3] & 1 == 1, big_endian);
                assert_eq!(WalHeader::parse(&bytes).unwrap(), header);
            }
        }
    }

    #[test]
    fn errors_are_distinct() {
        let good = header(4096, false);
        let damaged = |at: usize, value: u8| {
            let mut bytes = good.encode();
            bytes[at] = value;
            WalHeader::parse(&bytes)
        };
        assert!(matches!(
            WalHeader::parse(&good.encode()[..31]),
            Err(Error::Short {
                need: 32,
                got: 31,
                ..
            })
        ));
        assert!(matches!(damaged(0, 0), Err(Error::WalMagic(0x007f_0682))));
        assert!(matches!(
            damaged(11, 1),
            Err(Error::PageSize { value: 4097, .. })
        ));
        assert!(matches!(damaged(20, 1), Err(Error::WalChecksum)));
        assert!(matches!(damaged(31, 1), Err(Error::WalChecksum)));
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut bytes = header(4096, false).encode();
        bytes[7] += 1;
        let sum = WalChecksum::ZERO.update(false, &bytes[..24]);
        bytes[24..28].copy_from_slice(&sum.s1.to_be_bytes());
        bytes[28..].copy_from_slice(&sum.s2.to_be_bytes());
        assert!(matches!(
            WalHeader::parse(&bytes),
            Err(Error::WalVersion(3_007_001))
        ));
    }

    #[test]
    fn salt_1_wraps() {
        assert_eq!(
            header(512, false).salts.next(9),
            Salts { salt1: 0, salt2: 9 }
        );
    }
}
