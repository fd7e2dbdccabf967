use std::{fmt, str::FromStr};

use crc_fast::{CrcAlgorithm, Digest};

use crate::{Error, Pgno, hex};

/// Bit that every checksum has set, so that zero can mean "none".
const FLAG: u64 = 1 << 63;

/// A checksum of LTX: of a page, of a database, or of a file.
///
/// The checksum of a database is the XOR of the checksums of its pages without the lock page, with bit 63 set. So a
/// changed page costs two XORs: the old checksum out, the new one in ([`toggled`](Checksum::toggled)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(u64);

impl Checksum {
    /// The checksum of a database without pages.
    pub const EMPTY: Checksum = Checksum(FLAG);

    /// No checksum, such as the pre-apply checksum of a snapshot.
    pub const NONE: Checksum = Checksum(0);

    /// The checksum with this value, which is not checked.
    pub const fn from_raw(value: u64) -> Checksum {
        Checksum(value)
    }

    /// The value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there is no checksum.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether this can be the checksum of something: bit 63 is set.
    pub const fn is_well_formed(self) -> bool {
        self.0 & FLAG != 0
    }

    /// The checksum of the database with `page`, the checksum of a page, put in or taken out.
    #[must_use]
    pub const fn toggled(self, page: Checksum) -> Checksum {
        Checksum(FLAG | (self.0 ^ page.0))
    }

    /// The checksum of what the digest has seen.
    pub(crate) fn of(digest: &Digest) -> Checksum {
        Checksum(FLAG | digest.finalize())
    }
}

impl fmt::Display for Checksum {
    /// 16 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

impl FromStr for Checksum {
    type Err = Error;

    /// Exactly 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<Checksum, Error> {
        hex::parse_16(text).map(Checksum).ok_or(Error::Text {
            what: "checksum: not 16 hexadecimal digits",
        })
    }
}

/// The checksum of a page: CRC-64/GO-ISO of the page number (4 bytes, big endian) and the data, with bit 63 set.
///
/// The lock page has no checksum: a database checksum leaves it out, which is for the caller to do.
pub fn page_checksum(pgno: Pgno, data: &[u8]) -> Checksum {
    let mut digest = digest();
    digest.update(&pgno.get().to_be_bytes());
    digest.update(data);
    Checksum::of(&digest)
}

/// A digest of the CRC that LTX uses.
pub(crate) fn digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc64GoIso)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The CRC bit by bit: reflected polynomial x^64 + x^4 + x^3 + x + 1, all ones in and out.
    fn crc64_iso(data: &[u8]) -> u64 {
        let mut crc = u64::MAX;
        for byte in data {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xd800_0000_0000_0000 * (crc & 1));
            }
        }
        !crc
    }

    #[test]
    fn crc_is_that_of_the_catalogue() {
        let mut digest = digest();
        digest.update(b"123456789");
        assert_eq!(digest.finalize(), 0xb909_56c7_75a4_1001);
        assert_eq!(crc64_iso(b"123456789"), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn page_checksum_covers_number_and_data_at_every_length() {
        let data: Vec<u8> = (0..2048u32).map(|i| (i * 31 % 251) as u8).collect();
        for len in (0..600).chain([1024, 2047, 2048]) {
            let bytes = [&7u32.to_be_bytes()[..], &data[..len]].concat();
            let expected = Checksum::from_raw(1 << 63 | crc64_iso(&bytes));
            assert_eq!(
                page_checksum(Pgno::new(7).unwrap(), &data[..len]),
                expected,
                "{len} bytes"
            );
        }
    }

    #[test]
    fn toggling_twice_restores_and_keeps_the_flag() {
        let page = page_checksum(Pgno::FIRST, b"page");
        let with = Checksum::EMPTY.toggled(page);
        assert_eq!(with, page);
        assert_eq!(with.toggled(page), Checksum::EMPTY);
        assert!(Checksum::NONE.toggled(page).is_well_formed());
    }

    #[test]
    fn text_is_sixteen_digits_both_ways() {
        assert_eq!(Checksum::EMPTY.to_string(), "8000000000000000");
        assert_eq!(
            "8000000000000000".parse::<Checksum>().unwrap(),
            Checksum::EMPTY
        );
        assert!("80".parse::<Checksum>().is_err());
    }
}
