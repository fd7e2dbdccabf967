use crate::{Checksum, Error, PageSize, Pos, Result, TxId};

const MAGIC: &[u8; 4] = b"LTX1";

/// The one header flag of version 3: the file carries no database checksums.
const FLAG_NO_CHECKSUM: u32 = 1 << 1;

/// Whether a file carries the database checksums before and after its transactions.
///
/// Everything this project writes does; without them a position cannot be checked. Litestream writes files without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumTracking {
    /// The header and the trailer have the checksums.
    Tracked,
    /// Both have [`Checksum::NONE`].
    Untracked,
}

/// Header of an LTX file (100 bytes): which transactions it holds and what it applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Page size of the database.
    pub page_size: PageSize,
    /// Pages of the database after the transactions. Zero: the database was dropped.
    pub commit: u32,
    /// First transaction, not zero.
    pub min_txid: TxId,
    /// Last transaction, not before the first.
    pub max_txid: TxId,
    /// When the last transaction was captured, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Checksum of the database before the transactions; [`Checksum::NONE`] in a snapshot.
    pub pre_apply_checksum: Checksum,
    /// Byte offset in the WAL that the transaction came from, at most `i64::MAX`; zero if it came from no WAL.
    pub wal_offset: u64,
    /// Bytes of that WAL which the transaction took, at most `i64::MAX`.
    pub wal_size: u64,
    /// Salts of that WAL's header.
    pub wal_salts: (u32, u32),
    /// Node that created the file, zero if unknown.
    pub node_id: u64,
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 100;

    /// Whether the file is a complete database: it begins with the first transaction.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid == TxId::new(1)
    }

    /// Position of the database that the file applies to.
    ///
    /// For a snapshot the checksum is [`Checksum::NONE`]: it applies to anything.
    pub fn pre_pos(&self) -> Pos {
        Pos::new(
            self.min_txid.checked_previous().unwrap_or(TxId::ZERO),
            self.pre_apply_checksum,
        )
    }

    /// Whether a file that tracks checksums may have this header.
    ///
    /// # Errors
    ///
    /// [`Error::TxIdRange`], [`Error::PreApplyChecksum`] or [`Error::WalRange`].
    pub fn validate(&self) -> Result<()> {
        self.validate_as(ChecksumTracking::Tracked)
    }

    pub(crate) fn validate_as(&self, tracking: ChecksumTracking) -> Result<()> {
        let (min, max) = (self.min_txid, self.max_txid);
        if min.is_zero() || min > max || max.checked_next().is_none() {
            return Err(Error::TxIdRange { min, max });
        }
        let (offset, size, salts) = (self.wal_offset, self.wal_size, self.wal_salts);
        let from_wal = size != 0 || salts != (0, 0);
        if i64::try_from(offset).is_err()
            || i64::try_from(size).is_err()
            || (from_wal && offset == 0)
        {
            return Err(Error::WalRange {
                offset,
                size,
                salts,
            });
        }
        let checksum = self.pre_apply_checksum;
        let valid = if self.is_snapshot() || tracking == ChecksumTracking::Untracked {
            checksum.is_none()
        } else {
            checksum.is_well_formed()
        };
        if !valid {
            return Err(Error::PreApplyChecksum { min, checksum });
        }
        Ok(())
    }

    pub(crate) fn encode(&self, tracking: ChecksumTracking) -> [u8; Header::SIZE] {
        let flags = match tracking {
            ChecksumTracking::Tracked => 0,
            ChecksumTracking::Untracked => FLAG_NO_CHECKSUM,
        };
        let mut bytes = [0; Header::SIZE];
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&flags.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.get().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.commit.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.min_txid.get().to_be_bytes());
        bytes[24..32].copy_from_slice(&self.max_txid.get().to_be_bytes());
        bytes[32..40].copy_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.pre_apply_checksum.get().to_be_bytes());
        bytes[48..56].copy_from_slice(&self.wal_offset.to_be_bytes());
        bytes[56..64].copy_from_slice(&self.wal_size.to_be_bytes());
        bytes[64..68].copy_from_slice(&self.wal_salts.0.to_be_bytes());
        bytes[68..72].copy_from_slice(&self.wal_salts.1.to_be_bytes());
        bytes[72..80].copy_from_slice(&self.node_id.to_be_bytes());
        bytes
    }

    /// The valid header in these bytes. The reserved ones may be anything: the file checksum covers them.
    pub(crate) fn decode(bytes: &[u8; Header::SIZE]) -> Result<(Header, ChecksumTracking)> {
        if !bytes.starts_with(MAGIC) {
            return Err(Error::Magic);
        }
        let tracking = match u32_at(bytes, 4) {
            0 => ChecksumTracking::Tracked,
            FLAG_NO_CHECKSUM => ChecksumTracking::Untracked,
            flags => return Err(Error::HeaderFlags(flags)),
        };
        let header = Header {
            page_size: PageSize::new(u32_at(bytes, 8))?,
            commit: u32_at(bytes, 12),
            min_txid: TxId::new(u64_at(bytes, 16)),
            max_txid: TxId::new(u64_at(bytes, 24)),
            timestamp_ms: u64_at(bytes, 32).cast_signed(),
            pre_apply_checksum: Checksum::from_raw(u64_at(bytes, 40)),
            // A negative number of the format is one above i64::MAX here, which validation refuses.
            wal_offset: u64_at(bytes, 48),
            wal_size: u64_at(bytes, 56),
            wal_salts: (u32_at(bytes, 64), u32_at(bytes, 68)),
            node_id: u64_at(bytes, 72),
        };
        header.validate_as(tracking)?;
        Ok((header, tracking))
    }
}

fn u32_at(bytes: &[u8; Header::SIZE], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; Header::SIZE], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment() -> Header {
        Header {
            page_size: PageSize::new(4096).unwrap(),
            commit: 0x0102_0304,
            min_txid: TxId::new(0x1112_1314_1516_1718),
            max_txid: TxId::new(0x2122_2324_2526_2728),
            timestamp_ms: -2,
            pre_apply_checksum: Checksum::from_raw(0xf132_3334_3536_3738),
            wal_offset: 0x4142_4344_4546_4748,
            wal_size: 0x5152_5354_5556_5758,
            wal_salts: (0x6162_6364, 0x7172_7374),
            node_id: 0x8182_8384_8586_8788,
        }
    }

    #[test]
    fn every_field_survives_in_both_kinds() {
        let tracked = increment();
        let bytes = tracked.encode(ChecksumTracking::Tracked);
        assert_eq!(
            Header::decode(&bytes).unwrap(),
            (tracked, ChecksumTracking::Tracked)
        );
        assert_eq!(&bytes[..16], b"LTX1\0\0\0\0\0\0\x10\0\x01\x02\x03\x04");
        assert_eq!(&bytes[80..], [0; 20]);

        let untracked = Header {
            pre_apply_checksum: Checksum::NONE,
            ..increment()
        };
        let bytes = untracked.encode(ChecksumTracking::Untracked);
        assert_eq!(
            Header::decode(&bytes).unwrap(),
            (untracked, ChecksumTracking::Untracked)
        );
    }

    #[test]
    fn impossible_headers_are_refused() {
        let snapshot = Header {
            min_txid: TxId::new(1),
            pre_apply_checksum: Checksum::NONE,
            ..increment()
        };
        assert!(snapshot.validate().is_ok());
        assert!(increment().validate().is_ok());
        let no_wal = Header {
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            ..increment()
        };
        assert!(no_wal.validate().is_ok());

        for (name, header) in [
            (
                "min zero",
                Header {
                    min_txid: TxId::ZERO,
                    ..increment()
                },
            ),
            (
                "max zero",
                Header {
                    max_txid: TxId::ZERO,
                    ..increment()
                },
            ),
            (
                "max before min",
                Header {
                    max_txid: TxId::new(0x1112_1314_1516_1717),
                    ..increment()
                },
            ),
            (
                "no successor",
                Header {
                    max_txid: TxId::new(u64::MAX),
                    ..increment()
                },
            ),
            (
                "snapshot with checksum",
                Header {
                    pre_apply_checksum: Checksum::EMPTY,
                    ..snapshot
                },
            ),
            (
                "increment without checksum",
                Header {
                    pre_apply_checksum: Checksum::NONE,
                    ..increment()
                },
            ),
            (
                "checksum without flag",
                Header {
                    pre_apply_checksum: Checksum::from_raw(1),
                    ..increment()
                },
            ),
            (
                "wal offset negative",
                Header {
                    wal_offset: 1 << 63,
                    ..increment()
                },
            ),
            (
                "wal size negative",
                Header {
                    wal_size: 1 << 63,
                    ..increment()
                },
            ),
            (
                "size without offset",
                Header {
                    wal_size: 1,
                    ..no_wal
                },
            ),
            (
                "first salt without offset",
                Header {
                    wal_salts: (1, 0),
                    ..no_wal
                },
            ),
            (
                "second salt without offset",
                Header {
                    wal_salts: (0, 1),
                    ..no_wal
                },
            ),
        ] {
            assert!(header.validate().is_err(), "{name}");
            assert!(
                Header::decode(&header.encode(ChecksumTracking::Tracked)).is_err(),
                "{name}"
            );
        }
        assert!(
            increment()
                .validate_as(ChecksumTracking::Untracked)
                .is_err()
        );
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let good = increment().encode(ChecksumTracking::Tracked);
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Header::decode(&bytes)
        };
        assert!(matches!(with(3, b'2'), Err(Error::Magic)));
        assert!(matches!(with(7, 1), Err(Error::HeaderFlags(1))));
        assert!(matches!(
            with(4, 0x80),
            Err(Error::HeaderFlags(0x8000_0000))
        ));
        assert!(matches!(with(11, 1), Err(Error::PageSize(4097))));
    }

    #[test]
    fn position_before_is_one_less() {
        assert_eq!(
            increment().pre_pos(),
            Pos::new(
                TxId::new(0x1112_1314_1516_1717),
                increment().pre_apply_checksum
            )
        );
    }
}
