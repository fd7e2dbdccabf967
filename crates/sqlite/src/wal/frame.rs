use ltx::{PageSize, Pgno};

use crate::Error;
use crate::bytes::{be32, prefix};
use crate::wal::{Salts, WalChecksum, WalHeader};

/// The header of one frame ("WAL Frame Header"). The page follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The page that the frame holds.
    pub pgno: Pgno,
    /// In a commit frame the size of the database in pages after the commit, otherwise 0.
    pub commit: u32,
    /// The salts of the generation the frame was written in.
    pub salts: Salts,
    /// The checksum of the header, all frames before this one, the first 8 bytes of this frame header, and the
    /// page.
    pub checksum: WalChecksum,
}

impl FrameHeader {
    /// The size of a frame header in bytes.
    pub const SIZE: usize = 24;

    /// Reads a frame header. That proves nothing about the frame: see
    /// [`FrameChain::next`](crate::wal::FrameChain::next).
    ///
    /// # Errors
    ///
    /// [`Error::Short`] for fewer than 24 bytes, [`Error::WalFramePgno`] for page number 0.
    pub fn parse(bytes: &[u8]) -> Result<FrameHeader, Error> {
        let bytes: &[u8; FrameHeader::SIZE] = prefix("wal frame header", bytes)?;
        Ok(FrameHeader {
            pgno: Pgno::new(be32(bytes, 0)).ok_or(Error::WalFramePgno)?,
            commit: be32(bytes, 4),
            salts: Salts {
                salt1: be32(bytes, 8),
                salt2: be32(bytes, 12),
            },
            checksum: WalChecksum {
                s1: be32(bytes, 16),
                s2: be32(bytes, 20),
            },
        })
    }

    /// The header as it stands in the file.
    pub fn encode(&self) -> [u8; FrameHeader::SIZE] {
        let mut bytes = [0; FrameHeader::SIZE];
        bytes[..4].copy_from_slice(&self.pgno.get().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.commit.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.salts.encode());
        bytes[16..20].copy_from_slice(&self.checksum.s1.to_be_bytes());
        bytes[20..].copy_from_slice(&self.checksum.s2.to_be_bytes());
        bytes
    }

    /// Whether the frame ends a transaction.
    pub fn is_commit(&self) -> bool {
        self.commit != 0
    }
}

/// The offset in a -wal file, in bytes, of the header of frame `frame`. Frames count from 1; frame 0 counts as
/// frame 1.
pub fn frame_offset(page_size: PageSize, frame: u32) -> u64 {
    let frame_size = u64::from(page_size.get()) + FrameHeader::SIZE as u64;
    WalHeader::SIZE as u64 + u64::from(frame.saturating_sub(1)) * frame_size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let header = FrameHeader {
            pgno: Pgno::new(0x0102_0304).unwrap(),
            commit: 5,
            salts: Salts { salt1: 6, salt2: 7 },
            checksum: WalChecksum { s1: 8, s2: 9 },
        };
        let bytes = header.encode();
        assert_eq!(bytes[..8], [1, 2, 3, 4, 0, 0, 0, 5]);
        assert_eq!(FrameHeader::parse(&bytes).unwrap(), header);
        assert!(matches!(
            FrameHeader::parse(&bytes[..23]),
            Err(Error::Short { .. })
        ));
        assert!(matches!(
            FrameHeader::parse(&[0; 24]),
            Err(Error::WalFramePgno)
        ));
    }

    #[test]
    fn offsets_do_not_overflow() {
        let page_size = PageSize::new(65536).unwrap();
        assert_eq!(frame_offset(page_size, 1), 32);
        assert_eq!(frame_offset(page_size, 2), 32 + 24 + 65536);
        assert_eq!(
            frame_offset(page_size, u32::MAX),
            32 + (u64::from(u32::MAX) - 1) * 65560
        );
    }
}
