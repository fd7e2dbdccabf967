//! The header of a wal-index, with and without a right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sqlite::wal::{NATIVE_BIG_ENDIAN, WalChecksum};
use sqlite::wal_index::WalIndexHeader;

fuzz_target!(|bytes: &[u8]| {
    let _ = WalIndexHeader::parse(bytes);
    let Some(mut bytes) = bytes.first_chunk::<{ WalIndexHeader::SIZE }>().copied() else {
        return;
    };
    let sum = WalChecksum::ZERO.update(NATIVE_BIG_ENDIAN, &bytes[..40]);
    let words = [sum.s1, sum.s2].map(|word| {
        if NATIVE_BIG_ENDIAN {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    });
    bytes[40..].copy_from_slice(words.as_flattened());
    if let Ok(header) = WalIndexHeader::parse(&bytes) {
        assert_eq!(
            WalIndexHeader::parse(&header.encode()).expect("an encoded header parses"),
            header
        );
    }
});
