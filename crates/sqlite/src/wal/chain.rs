use ltx::{PageSize, Pgno};

use crate::Error;
use crate::wal::{FrameHeader, Salts, WalChecksum, WalHeader};

/// A verified position in one generation of a log: everything up to and including frame [`frame`](Self::frame)
/// was seen, and a frame belongs behind it iff [`next`](Self::next) accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameChain {
    page_size: PageSize,
    salts: Salts,
    big_endian: bool,
    checksum: WalChecksum,
    frame: u32,
}

/// Why bytes do not continue a [`FrameChain`]. SQLite ends the log there; none of these is an error by itself,
/// old and abandoned frames are normal behind the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainBreak {
    /// Fewer bytes than a frame.
    #[error("wal frame is incomplete")]
    Short,
    /// A frame of another generation.
    #[error("wal frame has the salts of another generation")]
    Salts,
    /// The frame was not written behind the one before, or is damaged.
    #[error("wal frame does not continue the checksum")]
    Checksum,
    /// The page number is 0.
    #[error("wal frame has page number zero")]
    ZeroPgno,
}

impl FrameChain {
    /// The position behind the header, before the first frame.
    pub fn new(header: &WalHeader) -> FrameChain {
        FrameChain {
            page_size: header.page_size,
            salts: header.salts,
            big_endian: header.big_endian_checksum,
            checksum: header.checksum,
            frame: 0,
        }
    }

    /// A position known from elsewhere: noted earlier, or that of a wal-index header. `checksum` is that of
    /// frame `frame`, or of the log's header if `frame` is 0.
    pub fn resume(
        page_size: PageSize,
        salts: Salts,
        big_endian: bool,
        checksum: WalChecksum,
        frame: u32,
    ) -> FrameChain {
        FrameChain {
            page_size,
            salts,
            big_endian,
            checksum,
            frame,
        }
    }

    /// The page size of the frames in bytes.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The salts of the generation.
    pub fn salts(&self) -> Salts {
        self.salts
    }

    /// Whether checksums are over big-endian words.
    pub fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// The checksum of the last verified frame, or of the header.
    pub fn checksum(&self) -> WalChecksum {
        self.checksum
    }

    /// The last verified frame, 0 for none.
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// The size of a frame in bytes: header and page.
    pub fn frame_size(&self) -> usize {
        FrameHeader::SIZE + self.page_size.bytes()
    }

    /// Verifies that the frame at the start of `frame_bytes` is the next of the log. Returns its header and the
    /// position behind it; the page is `frame_bytes[24..24 + page size]`. Bytes behind the frame do not matter.
    ///
    /// # Errors
    ///
    /// The reason why it is not, checked in SQLite's order. The chain stays where it was.
    pub fn next(&self, frame_bytes: &[u8]) -> Result<(FrameHeader, FrameChain), ChainBreak> {
        let bytes = frame_bytes
            .get(..self.frame_size())
            .ok_or(ChainBreak::Short)?;
        let (header_bytes, page) = bytes.split_at(FrameHeader::SIZE);
        if header_bytes[8..16] != self.salts.encode() {
            return Err(ChainBreak::Salts);
        }
        let header = FrameHeader::parse(header_bytes).map_err(|error| match error {
            Error::WalFramePgno => ChainBreak::ZeroPgno,
            _ => ChainBreak::Short,
        })?;
        if self.checksum_of_next(&header_bytes[..8], page) != header.checksum {
            return Err(ChainBreak::Checksum);
        }
        let frame = self.frame.checked_add(1).ok_or(ChainBreak::Short)?;
        Ok((
            header,
            FrameChain {
                checksum: header.checksum,
                frame,
                ..self.clone()
            },
        ))
    }

    /// Encodes the next frame, header and page, at the end of `out` and moves the chain behind it. It keeps the
    /// checksum byte order of the log, whoever began it. `commit` is as in [`FrameHeader::commit`].
    ///
    /// # Panics
    ///
    /// If `page` is not one page long, or the log already has 2^32 - 1 frames.
    pub fn append(&mut self, pgno: Pgno, commit: u32, page: &[u8], out: &mut Vec<u8>) {
        assert_eq!(
            page.len(),
            self.page_size.bytes(),
            "a wal frame holds exactly one page"
        );
        let frame = self
            .frame
            .checked_add(1)
            .expect("a log has at most 2^32 - 1 frames");
        let mut header = FrameHeader {
            pgno,
            commit,
            salts: self.salts,
            checksum: WalChecksum::ZERO,
        };
        header.checksum = self.checksum_of_next(&header.encode()[..8], page);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(page);
        self.checksum = header.checksum;
        self.frame = frame;
    }

    /// The salts are not summed: they are proven by comparison.
    fn checksum_of_next(&self, pgno_and_commit: &[u8], page: &[u8]) -> WalChecksum {
        self.checksum
            .update(self.big_endian, pgno_and_commit)
            .update(self.big_endian, page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(big_endian: bool) -> FrameChain {
        let page_size = PageSize::new(512).unwrap();
        let salts = Salts { salt1: 1, salt2: 2 };
        FrameChain::resume(
            page_size,
            salts,
            big_endian,
            WalChecksum { s1: 3, s2: 4 },
            9,
        )
    }

    #[test]
    fn next_accepts_what_append_wrote() {
        for big_endian in [false, true] {
            let mut writer = chain(big_endian);
            let mut log = Vec::new();
            writer.append(Pgno::FIRST, 0, &[7; 512], &mut log);
            writer.append(Pgno::new(2).unwrap(), 2, &[8; 512], &mut log);
            let (first, reader) = chain(big_endian).next(&log).unwrap();
            assert_eq!(
                (first.pgno, first.is_commit(), reader.frame()),
                (Pgno::FIRST, false, 10)
            );
            let (second, reader) = reader.next(&log[536..]).unwrap();
            assert_eq!((second.commit, reader), (2, writer));
            assert_eq!(chain(!big_endian).next(&log), Err(ChainBreak::Checksum));
        }
    }

    #[test]
    fn breaks_are_told_apart() {
        let mut log = Vec::new();
        chain(false).append(Pgno::FIRST, 0, &[7; 512], &mut log);
        let damaged = |at: usize| {
            let mut log = log.clone();
            log[at] ^= 1;
            chain(false).next(&log).unwrap_err()
        };
        assert_eq!(chain(false).next(&log[..535]), Err(ChainBreak::Short));
        assert_eq!(damaged(3), ChainBreak::ZeroPgno);
        assert_eq!(damaged(8), ChainBreak::Salts);
        for at in [0, 7, 16, 23, 24, 535] {
            assert_eq!(damaged(at), ChainBreak::Checksum, "byte {at}");
        }
    }

    #[test]
    fn a_frame_out_of_turn_does_not_chain() {
        let mut writer = chain(false);
        let mut log = Vec::new();
        writer.append(Pgno::FIRST, 0, &[7; 512], &mut log);
        writer.append(Pgno::FIRST, 1, &[8; 512], &mut log);
        assert_eq!(chain(false).next(&log[536..]), Err(ChainBreak::Checksum));
    }
}
