//! Bytes that are no file, or not quite one.

use std::io::Cursor;

use ltx::{Checksum, Compression, IndexedReader, compact, read_ends, verify};
use proptest::prelude::*;

use crate::fixture::{Page, block_bytes, file, increment, page_size, read, snapshot_file};

fn samples() -> Vec<Vec<u8>> {
    let size = page_size(512);
    let pages = [(2, 1), (3, 1), (70, 1), (300, 1)].map(|(pgno, seed)| Page { pgno, seed });
    let header = increment(size, 400, Checksum::EMPTY);
    vec![
        snapshot_file(size, 3),
        file(header, &pages, Checksum::EMPTY, Compression::Lz4),
        file(header, &pages[..2], Checksum::EMPTY, Compression::None),
        file(header, &[], Checksum::EMPTY, Compression::Lz4),
    ]
}

/// Reads the bytes in every way there is; the result does not matter.
fn read_all_ways(bytes: &[u8]) {
    let _ = read(bytes);
    let _ = read_ends(&mut Cursor::new(bytes));
    let _ = compact(vec![bytes], Vec::new());
    if let Ok(mut reader) = IndexedReader::new(Cursor::new(bytes)) {
        let pages: Vec<_> = reader.pages().collect();
        for pgno in pages {
            let _ = reader.page(pgno, &mut Vec::new());
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for bytes in samples() {
        assert!(verify(&bytes[..]).is_ok());
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            assert!(verify(cut).is_err(), "{len} of {}", bytes.len());
            assert!(
                IndexedReader::new(Cursor::new(cut)).is_err(),
                "{len} of {}",
                bytes.len()
            );
            assert!(
                read_ends(&mut Cursor::new(cut)).is_err(),
                "{len} of {}",
                bytes.len()
            );
            read_all_ways(cut);
        }
    }
}

/// A flipped bit of an LZ4 block may give another block of the same page; then the file is the same file.
#[test]
fn a_flipped_bit_anywhere_is_refused_or_changes_nothing() {
    for good in samples() {
        let expected = read(&good).unwrap();
        let is_block = block_bytes(&good);
        for (at, is_block) in is_block.iter().enumerate() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                match read(&bytes) {
                    Err(_) => {}
                    Ok(content) => assert!(*is_block && content == expected, "byte {at} bit {bit}"),
                }
                read_all_ways(&bytes);
            }
        }
    }
}

#[test]
fn bytes_left_out_or_doubled_are_refused() {
    for good in samples() {
        for at in 0..good.len() {
            let mut shorter = good.clone();
            shorter.remove(at);
            let mut longer = good.clone();
            longer.insert(at, good[at]);
            for bytes in [shorter, longer] {
                // Within a run of equal bytes of a block this is the one case that gives a file again.
                if let Ok(content) = read(&bytes) {
                    panic!("byte {at}: {:?}", content.header);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(verify(&bytes[..]).is_err());
        prop_assert!(IndexedReader::new(Cursor::new(&bytes)).is_err());
        prop_assert!(read_ends(&mut Cursor::new(&bytes)).is_err());
    }

    #[test]
    fn arbitrary_bytes_after_a_header_are_refused(
        which in 0..4usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let file = [&samples()[which][..100], &bytes].concat();
        prop_assert!(verify(&file[..]).is_err());
        read_all_ways(&file);
    }

    #[test]
    fn several_changes_never_panic(
        which in 0..4usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let good = &samples()[which];
        let mut bytes = good.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(content) = read(&bytes) {
            prop_assert!(content == read(good).unwrap());
        }
        read_all_ways(&bytes);
    }
}
