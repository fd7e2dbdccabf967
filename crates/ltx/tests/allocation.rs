//! How much memory reading and writing take, whatever a file says of itself.

use std::{hint::black_box, io::Cursor};

use ltx::{
    Checksum, Header, IndexedReader, PageSize, Pgno, Reader, TxId, Writer, compact, read_ends,
    verify,
};
use mutation::{Counting, measure};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn header(page_size: u32, commit: u32) -> Header {
    Header {
        page_size: PageSize::new(page_size).unwrap(),
        commit,
        min_txid: TxId::new(2),
        max_txid: TxId::new(2),
        timestamp_ms: 0,
        pre_apply_checksum: Checksum::EMPTY,
        wal_offset: 0,
        wal_size: 0,
        wal_salts: (0, 0),
        node_id: 0,
    }
}

/// A page of noise: it fills the buffers as fast as any.
fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 88_172_645_463_325_252u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn file(page_size: u32, pages: u32) -> Vec<u8> {
    let page = noise(page_size as usize);
    let mut writer = Writer::new(Vec::new(), header(page_size, pages)).unwrap();
    for pgno in (1..=pages).filter_map(Pgno::new) {
        writer.write_page(pgno, &page).unwrap();
    }
    writer.finish(Checksum::EMPTY).unwrap().0
}

const KIB: usize = 1024;

#[test]
fn a_page_costs_the_writer_no_allocation() {
    for bits in 9..=16 {
        let page = noise(1 << bits);
        let mut writer = Writer::new(std::io::sink(), header(1 << bits, u32::MAX)).unwrap();
        let mut write = |numbers: std::ops::Range<u32>| {
            for pgno in numbers.filter_map(Pgno::new) {
                writer.write_page(pgno, &page).unwrap();
            }
        };
        write(1..2000);
        let (measured, ()) = measure(|| write(2000..4000));
        // The page index doubles at most once in between.
        assert!(
            measured.allocations <= 1,
            "{measured:?} for 2000 pages of {} bytes",
            1 << bits
        );
    }
}

#[test]
fn a_page_costs_the_reader_no_allocation() {
    let bytes = file(4096, 1000);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut page = Vec::new();
    for _ in 0..500 {
        reader.next_page(&mut page).unwrap();
    }
    let (measured, ()) = measure(|| while reader.next_page(&mut page).unwrap().is_some() {});
    assert_eq!(measured.allocations, 0);
}

#[test]
fn memory_to_verify_does_not_grow_with_the_file() {
    let mut peaks = [100, 20_000].map(|pages| {
        let bytes = file(512, pages);
        measure(|| verify(&bytes[..]).unwrap()).0.peak
    });
    peaks.sort_unstable();
    assert!(peaks[1] < 64 * KIB, "{peaks:?}");
    // The page index of a small file does not fill the batch it is hashed in.
    assert!(peaks[1] - peaks[0] < 2 * KIB, "{peaks:?}");
}

/// The most memory that reading these bytes in any way took. The output of a compaction is not kept.
fn peak(bytes: &[u8]) -> usize {
    let (measured, ()) = measure(|| {
        black_box(verify(bytes).is_ok());
        black_box(read_ends(&mut Cursor::new(bytes)).is_ok());
        black_box(compact(vec![bytes], std::io::sink()).is_ok());
        if let Ok(mut reader) = IndexedReader::new(Cursor::new(bytes)) {
            let pages: Vec<Pgno> = reader.pages().collect();
            let mut page = Vec::new();
            for pgno in pages {
                black_box(reader.page(pgno, &mut page).is_ok());
            }
        }
    });
    measured.peak
}

#[test]
fn length_fields_are_not_believed() {
    for page_size in [512, 65536] {
        let good = file(page_size, 2);
        let bound = peak(&good) + 100 * KIB;
        assert!(bound < 600 * KIB, "{bound}");
        // Every field of 1, 2, 4 and 8 bytes that is not in the middle of a page, made as large as it can be.
        let edges = (0..200).chain(good.len() - 200..good.len());
        for at in edges {
            for width in [1, 2, 4, 8] {
                for fill in [0xff, 0x7f] {
                    let mut bytes = good.clone();
                    let end = (at + width).min(bytes.len());
                    bytes[at..end].fill(0xff);
                    bytes[at] = fill;
                    let peak = peak(&bytes);
                    assert!(
                        peak <= bound,
                        "{peak} bytes with {width} bytes at {at} changed, page size {page_size}"
                    );
                }
            }
        }
    }
}

/// The LZ4 frame format lets a frame ask for buffers of 4 MiB blocks, and its legacy form of 8 MiB.
#[test]
fn frames_have_a_bound_too() {
    let good = include_bytes!("golden/frames.ltx");
    assert!(verify(&good[..]).is_ok());
    for at in 106..125 {
        for byte in 0..=255 {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            let peak = peak(&bytes);
            assert!(
                peak < 20 * KIB * KIB,
                "{peak} bytes with byte {at} = {byte}"
            );
        }
    }
}
