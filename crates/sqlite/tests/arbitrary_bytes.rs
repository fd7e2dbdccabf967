//! Whatever the bytes are, nothing panics and everything ends.

use std::io::Cursor;
use std::os::unix::fs::FileExt as _;

use ltx::Pgno;
use proptest::collection::vec;
use proptest::prelude::*;
use sqlite::header::DatabaseHeader;
use sqlite::journal::{self, Journal, JournalState};
use sqlite::wal::{FrameChain, FrameHeader, Salts, WalChecksum, WalHeader};
use sqlite::wal_index::{Access, WalIndex, WalIndexHeader};

/// Bytes with something valid in them here and there: arbitrary ones are refused at the first field.
fn journal_bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![0u32..6, Just(u32::MAX), any::<u32>()];
    let header = (word, any::<u32>(), 0u32..9, 5u32..17, 9u32..17).prop_map(
        |(records, nonce, pages, sector, page)| {
            let fields = [records, nonce, pages, 1 << sector, 1 << page];
            [
                &journal::MAGIC[..],
                fields.map(u32::to_be_bytes).as_flattened(),
            ]
            .concat()
        },
    );
    let part = prop_oneof![
        header,
        vec(any::<u8>(), 0..64),
        (0usize..3000).prop_map(|len| vec![0; len]),
        (0u32..9).prop_map(|word| word.to_be_bytes().to_vec()),
    ];
    vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn headers(bytes in vec(any::<u8>(), 0..200)) {
        let short = |size: usize| bytes.len() < size;
        prop_assert!(!short(DatabaseHeader::SIZE) || DatabaseHeader::parse(&bytes).is_err());
        prop_assert!(!short(WalHeader::SIZE) || WalHeader::parse(&bytes).is_err());
        prop_assert!(!short(WalIndexHeader::SIZE) || WalIndexHeader::parse(&bytes).is_err());
        if let Ok(frame) = FrameHeader::parse(&bytes) {
            prop_assert_eq!(&frame.encode()[..], &bytes[..FrameHeader::SIZE]);
        }
    }

    #[test]
    fn frames(bytes in vec(any::<u8>(), 0..700), big_endian: bool) {
        let page_size = ltx::PageSize::new(512).unwrap();
        let chain = FrameChain::resume(page_size, Salts::default(), big_endian, WalChecksum::ZERO, u32::MAX);
        prop_assert!(chain.next(&bytes).is_err());
    }

    #[test]
    fn journals(bytes in journal_bytes()) {
        if let Ok(mut journal) = Journal::open(Cursor::new(&bytes)) {
            prop_assert_eq!(journal.state() == JournalState::Empty, bytes.is_empty());
            prop_assert_eq!(journal.header().is_some(), journal.state() == JournalState::Valid);
            let mut records = journal.records();
            while let Some(record) = records.next() {
                let record = record.unwrap();
                let at = record.offset_of_page as usize;
                prop_assert_eq!(records.page(), &bytes[at..at + records.page().len()]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The header is valid and what it speaks of is arbitrary.
    #[test]
    fn wal_indexes(
        mx_frame in prop_oneof![0u32..10000, any::<u32>()],
        blocks in 1usize..4,
        pattern in vec(any::<u8>(), 1..40),
        looked_up in vec((1u32.., any::<u32>()), 20),
    ) {
        let mut bytes: Vec<u8> = pattern.iter().copied().cycle().take(blocks * 32768).collect();
        let mut header = WalIndexHeader::parse(&initialised()).unwrap();
        header.mx_frame = mx_frame;
        bytes[..48].copy_from_slice(&header.encode());
        bytes[48..96].copy_from_slice(&header.encode());
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let mut index = WalIndex::open(file, Access::ReadWrite).unwrap();
        prop_assert_eq!(index.header().is_ok(), mx_frame <= 4062 + 4096 * (blocks as u32 - 1));
        for (pgno, frame) in looked_up {
            let pgno = Pgno::new(pgno).unwrap();
            let found = index.find(pgno, frame);
            prop_assert!(found.is_none_or(|found| found <= frame && index.page_of_frame(found) == Some(pgno)));
        }
        let last = 4062 + 4096 * (blocks as u32 - 1);
        for frame in [1, 2, 4062, last] {
            if index.append(frame, Pgno::FIRST, 0).is_ok() {
                prop_assert_eq!(index.page_of_frame(frame), Some(Pgno::FIRST));
            }
        }
    }
}

fn initialised() -> [u8; WalIndexHeader::SIZE] {
    let header = WalIndexHeader {
        change: 0,
        is_init: true,
        big_endian_checksum: false,
        page_size: None,
        mx_frame: 0,
        page_count: 0,
        frame_checksum: WalChecksum::ZERO,
        salts: Salts::default(),
    };
    header.encode()
}
