//! A -wal file of arbitrary bytes: what chains is what would be written again.

use sqlite::wal::{FrameChain, FrameHeader, Salts, WalChecksum, WalHeader};

/// Must not panic, whatever the bytes are.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(header) = WalHeader::parse(bytes) {
        assert_eq!(header.encode(), bytes[..WalHeader::SIZE]);
        follow(FrameChain::new(&header), &bytes[WalHeader::SIZE..]);
    }
    // Without the header's checksum in the way.
    let page_size = ltx::PageSize::new(512).expect("a page size");
    let chain = FrameChain::resume(page_size, Salts::default(), false, WalChecksum::ZERO, 0);
    follow(chain, bytes);
}

fn follow(mut chain: FrameChain, mut bytes: &[u8]) {
    while let Ok((frame, next)) = chain.next(bytes) {
        let (this, rest) = bytes.split_at(chain.frame_size());
        let mut again = Vec::new();
        chain.append(
            frame.pgno,
            frame.commit,
            &this[FrameHeader::SIZE..],
            &mut again,
        );
        assert!(again == this && chain == next);
        bytes = rest;
    }
}
