use std::io::{self, Cursor, Write};

use ltx::{
    Checksum, ChecksumTracking, Compression, Error, Header, Reader, TxId, Writer, read_ends, verify,
};
use proptest::prelude::*;

use crate::fixture::{
    Page, file, increment, page_size, page_sizes, pgno, read, rolling, snapshot, snapshot_file,
};

#[test]
fn snapshots_of_every_page_size_come_back() {
    for size in page_sizes() {
        for compression in [Compression::Lz4, Compression::None] {
            let pages = [1, 2, 3, 4].map(|pgno| Page { pgno, seed: 1 });
            let header = snapshot(size, 4);
            let bytes = file(header, &pages, rolling(&pages, size), compression);

            let content = read(&bytes).unwrap();
            assert_eq!(content.header, header);
            assert_eq!(content.trailer.post_apply_checksum, rolling(&pages, size));
            let expected: Vec<_> = pages
                .iter()
                .map(|page| (page.number(), page.content(size)))
                .collect();
            assert_eq!(content.pages, expected, "{size} {compression:?}");
            assert_eq!(verify(&bytes[..]).unwrap(), (header, content.trailer));
            assert_eq!(
                read_ends(&mut Cursor::new(&bytes)).unwrap(),
                (header, content.trailer)
            );
        }
    }
}

#[test]
fn stored_pages_are_found_in_the_file_as_they_are() {
    let size = page_size(4096);
    let page = Page { pgno: 2, seed: 0 };
    let header = increment(size, 2, Checksum::EMPTY);
    let bytes = file(header, &[page], Checksum::EMPTY, Compression::None);
    assert!(
        bytes
            .windows(4096)
            .any(|window| window == page.content(size))
    );
    let compressible = Page { pgno: 3, seed: 0 };
    let header = Header {
        commit: 3,
        ..header
    };
    assert!(file(header, &[compressible], Checksum::EMPTY, Compression::Lz4).len() < 300);
}

#[test]
fn a_dropped_database_is_a_file_without_pages() {
    let header = increment(page_size(4096), 0, Checksum::from_raw(1 << 63 | 5));
    let bytes = file(header, &[], Checksum::EMPTY, Compression::Lz4);
    assert_eq!(bytes.len(), 131);
    assert_eq!(verify(&bytes[..]).unwrap().0, header);

    let writer = Writer::new(Vec::new(), header).unwrap();
    let other = Checksum::from_raw(1 << 63 | 5);
    assert!(matches!(
        writer.finish(other),
        Err(Error::PostApplyChecksum {
            expected: Checksum::EMPTY,
            ..
        })
    ));
}

#[test]
fn untracked_files_have_no_checksums() {
    let size = page_size(512);
    let page = Page { pgno: 1, seed: 0 };
    for header in [snapshot(size, 1), increment(size, 1, Checksum::NONE)] {
        let begin = || {
            let mut writer =
                Writer::with_tracking(Vec::new(), header, ChecksumTracking::Untracked).unwrap();
            writer
                .write_page(page.number(), &page.content(size))
                .unwrap();
            writer
        };
        assert!(begin().finish(Checksum::EMPTY).is_err());
        let (bytes, trailer) = begin().finish(Checksum::NONE).unwrap();
        assert_eq!(verify(&bytes[..]).unwrap(), (header, trailer));
        assert_eq!(
            Reader::new(&bytes[..]).unwrap().tracking(),
            ChecksumTracking::Untracked
        );
    }
    assert!(Writer::new(Vec::new(), increment(size, 1, Checksum::NONE)).is_err());
}

#[test]
fn the_writer_refuses_what_a_reader_would() {
    let size = page_size(512);
    let page = vec![7; 512];
    let mut writer = Writer::new(Vec::new(), increment(size, 9, Checksum::EMPTY)).unwrap();
    assert!(matches!(
        writer.write_page(pgno(2), &page[..511]),
        Err(Error::PageLength { len: 511, .. })
    ));
    assert!(matches!(
        writer.write_page(pgno(10), &page),
        Err(Error::PageBeyondCommit { commit: 9, .. })
    ));
    writer.write_page(pgno(2), &page).unwrap();
    assert!(matches!(
        writer.write_page(pgno(2), &page),
        Err(Error::PageOrder { .. })
    ));
    // What was refused changed nothing.
    writer.write_page(pgno(3), &page).unwrap();
    let (bytes, _) = writer.finish(Checksum::from_raw(1 << 63 | 1)).unwrap();
    let numbers: Vec<u32> = read(&bytes)
        .unwrap()
        .pages
        .iter()
        .map(|(pgno, _)| pgno.get())
        .collect();
    assert_eq!(numbers, [2, 3]);

    let writer = Writer::new(Vec::new(), increment(size, 9, Checksum::EMPTY)).unwrap();
    assert!(matches!(
        writer.finish(Checksum::from_raw(1)),
        Err(Error::PostApplyChecksum { .. })
    ));

    let mut short = Writer::new(Vec::new(), snapshot(size, 2)).unwrap();
    short.write_page(pgno(1), &page).unwrap();
    let sum = ltx::page_checksum(pgno(1), &page);
    assert!(matches!(
        short.finish(sum),
        Err(Error::SnapshotIncomplete { .. })
    ));

    let mut whole = Writer::new(Vec::new(), snapshot(size, 1)).unwrap();
    whole.write_page(pgno(1), &page).unwrap();
    assert!(
        matches!(whole.finish(Checksum::EMPTY), Err(Error::PostApplyChecksum { expected, .. }) if expected == sum)
    );
    assert!(
        Writer::new(
            Vec::new(),
            Header {
                max_txid: TxId::ZERO,
                ..snapshot(size, 1)
            }
        )
        .is_err()
    );
}

#[test]
fn finish_waits_for_the_last_page() {
    let bytes = snapshot_file(page_size(512), 2);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    reader.next_page(&mut Vec::new()).unwrap();
    reader.next_page(&mut Vec::new()).unwrap();
    assert!(matches!(reader.finish(), Err(Error::PagesLeft { .. })));
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let mut bytes = snapshot_file(page_size(512), 2);
    bytes[Header::SIZE + 5] = 0xff;
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert!(matches!(
        reader.next_page(&mut Vec::new()),
        Err(Error::PageHeader { offset: 100, .. })
    ));
    assert!(matches!(
        reader.next_page(&mut Vec::new()),
        Err(Error::Poisoned { .. })
    ));
    assert!(matches!(reader.finish(), Err(Error::Poisoned { .. })));
}

#[test]
fn bytes_after_the_trailer_are_refused() {
    let mut bytes = snapshot_file(page_size(512), 2);
    let end = bytes.len() as u64;
    bytes.push(0);
    assert!(matches!(verify(&bytes[..]), Err(Error::TrailingBytes { offset }) if offset == end));
}

/// Takes `left` bytes, then fails.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = bytes.len().min(self.left);
        self.left -= len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_wherever_it_happens() {
    let size = page_size(4096);
    let pages: Vec<Page> = (1..=60)
        .map(|i| Page {
            pgno: 3 * i + 1,
            seed: 1,
        })
        .collect(); // noise: four batches
    let header = increment(size, 200, Checksum::EMPTY);
    let write = |left| {
        let mut writer = Writer::new(Full { left }, header)?;
        for page in &pages {
            writer.write_page(page.number(), &page.content(size))?;
        }
        writer.finish(Checksum::EMPTY)
    };
    let len = file(header, &pages, Checksum::EMPTY, Compression::Lz4).len();
    assert!(len > 200_000);
    assert!(write(len).is_ok());
    for left in (0..len).step_by(4097).chain([len - 1]) {
        match write(left) {
            Err(Error::Write { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull)
            }
            other => panic!(
                "{left} bytes of room: {:?}",
                other.map(|(_, trailer)| trailer)
            ),
        }
    }
}

#[test]
fn a_writer_that_failed_stays_failed() {
    let size = page_size(65536);
    let mut writer = Writer::new(Full { left: 0 }, increment(size, 9, Checksum::EMPTY)).unwrap();
    let page = Page { pgno: 2, seed: 0 }.content(size);
    let errors: Vec<Error> = (1..=4)
        .filter_map(|n| writer.write_page(pgno(n), &page).err())
        .collect();
    assert!(
        matches!(
            errors[..],
            [Error::Write { .. }, .., Error::Poisoned { .. }]
        ),
        "{errors:?}"
    );
    assert!(matches!(
        writer.finish(Checksum::EMPTY),
        Err(Error::Poisoned { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_transaction_comes_back(
        bits in 9..=13u32,
        numbers in proptest::collection::btree_set(1..5000u32, 0..40),
        grow in 0..3u32,
        seed in 0..1000u32,
        txids in (2..u64::MAX / 2, 0..1000u64),
        (timestamp_ms, node_id) in any::<(i64, u64)>(),
        (pre, post) in any::<(u64, u64)>(),
        wal in (1..=i64::MAX as u64, 0..=i64::MAX as u64, any::<(u32, u32)>()),
    ) {
        let size = page_size(1 << bits);
        let pages: Vec<Page> = numbers.iter().map(|pgno| Page { pgno: *pgno, seed }).collect();
        let header = Header {
            page_size: size,
            commit: numbers.last().copied().unwrap_or(1) + grow,
            min_txid: TxId::new(txids.0),
            max_txid: TxId::new(txids.0 + txids.1),
            timestamp_ms,
            pre_apply_checksum: Checksum::from_raw(pre | 1 << 63),
            wal_offset: wal.0,
            wal_size: wal.1,
            wal_salts: wal.2,
            node_id,
        };
        let post = Checksum::from_raw(post | 1 << 63);
        let content = read(&file(header, &pages, post, Compression::Lz4)).unwrap();
        prop_assert_eq!(content.header, header);
        prop_assert_eq!(content.trailer.post_apply_checksum, post);
        let expected: Vec<_> = pages.iter().map(|page| (page.number(), page.content(size))).collect();
        prop_assert_eq!(content.pages, expected);
    }
}
