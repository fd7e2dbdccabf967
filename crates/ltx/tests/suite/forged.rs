//! Files with a right file checksum and something else wrong, put together without the writer.

use std::io::Cursor;

use crc_fast::{CrcAlgorithm, Digest};
use ltx::{Checksum, Compression, Error, Header, IndexedReader, PageSize, read_ends, verify};

use crate::fixture::{Page, file, increment, page_size, read, rolling, snapshot};

/// The parts of a file.
#[derive(Clone)]
struct Forged {
    header: Vec<u8>,
    /// Page numbers with their content.
    pages: Vec<(u32, Vec<u8>)>,
    /// Number, offset and size of each page; the zero number follows.
    index: Vec<[u64; 3]>,
    /// What the field says beyond the size of the index.
    index_size_error: u64,
    post_apply_checksum: Checksum,
}

const BLOCK_HEADER: u64 = 10;

impl Forged {
    /// A correct file with these pages.
    fn new(header: Header, pages: &[Page], post_apply_checksum: Checksum) -> Forged {
        // The header bytes as the writer makes them, of a file that need not become one.
        let bytes = file_header(header);
        let pages: Vec<_> = pages
            .iter()
            .map(|page| (page.pgno, page.content(header.page_size)))
            .collect();
        let mut offset = 100;
        let index = pages.iter().map(|(pgno, content)| {
            let size = BLOCK_HEADER + literals(content).len() as u64;
            offset += size;
            [u64::from(*pgno), offset - size, size]
        });
        Forged {
            header: bytes,
            index: index.collect(),
            pages,
            index_size_error: 0,
            post_apply_checksum,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        let mut digest = Digest::new(CrcAlgorithm::Crc64GoIso);
        digest.update(&bytes);
        for (pgno, content) in &self.pages {
            let block = literals(content);
            let mut head = pgno.to_be_bytes().to_vec();
            head.extend([0, 1]);
            head.extend((block.len() as u32).to_be_bytes());
            digest.update(&head);
            digest.update(content);
            bytes.extend(head);
            bytes.extend(block);
        }
        let rest = bytes.len();
        bytes.extend([0; 6]);
        let index = bytes.len();
        for value in self.index.iter().flatten().chain([&0]) {
            let mut value = *value;
            while value > 0x7f {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        let size = (bytes.len() - index) as u64;
        let size = size.wrapping_add(self.index_size_error);
        bytes.extend(size.to_be_bytes());
        bytes.extend(self.post_apply_checksum.get().to_be_bytes());
        digest.update(&bytes[rest..]);
        bytes.extend((digest.finalize() | 1 << 63).to_be_bytes());
        bytes
    }

    fn changed(&self, change: impl FnOnce(&mut Forged)) -> Vec<u8> {
        let mut forged = self.clone();
        change(&mut forged);
        forged.bytes()
    }
}

/// The 100 bytes of a header.
fn file_header(header: Header) -> Vec<u8> {
    let size = page_size(512);
    let mut bytes = file(
        increment(size, 1, Checksum::EMPTY),
        &[],
        Checksum::EMPTY,
        Compression::Lz4,
    );
    bytes.truncate(Header::SIZE);
    bytes[8..12].copy_from_slice(&header.page_size.get().to_be_bytes());
    bytes[12..16].copy_from_slice(&header.commit.to_be_bytes());
    bytes[16..24].copy_from_slice(&header.min_txid.get().to_be_bytes());
    bytes[24..32].copy_from_slice(&header.max_txid.get().to_be_bytes());
    bytes[32..40].copy_from_slice(&header.timestamp_ms.to_be_bytes());
    bytes[40..48].copy_from_slice(&header.pre_apply_checksum.get().to_be_bytes());
    bytes
}

/// An LZ4 block of literals only.
fn literals(content: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut beyond = content.len() - 15;
    while beyond >= 255 {
        block.push(255);
        beyond -= 255;
    }
    block.push(beyond as u8);
    block.extend(content);
    block
}

fn three_pages(size: PageSize) -> (Forged, Forged) {
    let pages = [1, 2, 3].map(|pgno| Page { pgno, seed: 1 });
    let post = rolling(&pages, size);
    let pre = Checksum::from_raw(1 << 63 | 5);
    (
        Forged::new(snapshot(size, 3), &pages, post),
        Forged::new(increment(size, 9, pre), &pages, post),
    )
}

#[test]
fn a_correct_file_is_what_the_writer_writes() {
    let size = page_size(512);
    let (whole, part) = three_pages(size);
    for forged in [whole, part] {
        let content = read(&forged.bytes()).unwrap();
        let pages = [1, 2, 3].map(|pgno| Page { pgno, seed: 1 });
        let written = file(
            content.header,
            &pages,
            content.trailer.post_apply_checksum,
            Compression::None,
        );
        assert!(forged.bytes() == written);
    }
}

#[test]
fn an_index_of_other_pages_is_refused() {
    for forged in <[Forged; 2]>::from(three_pages(page_size(512))) {
        for (name, bytes) in [
            ("number", forged.changed(|file| file.index[1][0] = 7)),
            ("offset", forged.changed(|file| file.index[1][1] += 1)),
            ("size", forged.changed(|file| file.index[2][2] += 1)),
            ("left out", forged.changed(|file| file.index.truncate(2))),
            (
                "first at the end",
                forged.changed(|file| file.index.rotate_left(1)),
            ),
            (
                "too many",
                forged.changed(|file| file.index.push([9, 1700, 500])),
            ),
            ("empty", forged.changed(|file| file.index.clear())),
            ("order", forged.changed(|file| file.index.swap(0, 1))),
            (
                "twice",
                forged.changed(|file| file.index.push(file.index[2])),
            ),
            (
                "after its end",
                forged.changed(|file| file.index.push([0, 0, 0])),
            ),
            (
                "number beyond 32 bits",
                forged.changed(|file| file.index[0][0] += 1 << 32),
            ),
            (
                "sizes that overflow",
                forged.changed(|file| file.index[1][2] = u64::MAX),
            ),
            (
                "index size",
                forged.changed(|file| file.index_size_error = 1),
            ),
            (
                "index size below",
                forged.changed(|file| file.index_size_error = u64::MAX),
            ),
        ] {
            assert!(verify(&bytes[..]).is_err(), "{name}");
            let indexed = IndexedReader::new(Cursor::new(&bytes));
            // That a number is another one is seen only when the page is read.
            let noticed = match indexed {
                Err(_) => true,
                Ok(mut reader) => {
                    let pages: Vec<_> = reader.pages().collect();
                    pages
                        .iter()
                        .any(|pgno| reader.page(*pgno, &mut Vec::new()).is_err())
                }
            };
            assert!(noticed, "{name}");
        }
        let wrong_size = forged.changed(|file| file.index_size_error = 1);
        assert!(matches!(
            verify(&wrong_size[..]),
            Err(Error::PageIndex { .. })
        ));
    }
}

#[test]
fn ends_that_do_not_fit_are_refused() {
    let (whole, _) = three_pages(page_size(512));
    let ends = |bytes: Vec<u8>| read_ends(&mut Cursor::new(bytes));
    let good = whole.bytes();
    assert_eq!(ends(good.clone()).unwrap(), verify(&good[..]).unwrap());
    let tail = good.len() - 24;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ends(bytes)
    };
    assert!(with(tail - 1, 1).is_err(), "end of the index");
    assert!(with(tail, 1).is_err(), "index size beyond the file");
    assert!(
        with(tail + 8, 0).is_err(),
        "post-apply checksum without flag"
    );
    assert!(with(tail + 16, 0).is_err(), "file checksum without flag");

    // Without pages the end of the pages and the index are seven zeros, which would bear an empty index.
    let no_pages = Forged::new(snapshot(page_size(512), 0), &[], Checksum::EMPTY);
    assert!(ends(no_pages.bytes()).is_ok());
    assert!(ends(no_pages.changed(|file| file.index_size_error = u64::MAX)).is_err());
}

#[test]
fn pages_that_may_not_be_there_are_refused() {
    let size = page_size(65536);
    let pre = Checksum::from_raw(1 << 63 | 5);
    let page = |pgno| Page { pgno, seed: 1 };
    let refused = |header, pages: &[Page]| {
        let bytes = Forged::new(header, pages, rolling(pages, header.page_size)).bytes();
        assert!(IndexedReader::new(Cursor::new(&bytes)).is_err());
        verify(&bytes[..]).unwrap_err()
    };
    let part = increment(size, 20_000, pre);
    assert!(matches!(refused(part, &[page(16_385)]), Error::LockPage(_)));
    assert!(matches!(
        refused(part, &[page(20_001)]),
        Error::PageBeyondCommit { .. }
    ));
    assert!(matches!(
        refused(part, &[page(3), page(2)]),
        Error::PageOrder { .. }
    ));
    assert!(matches!(
        refused(part, &[page(3), page(3)]),
        Error::PageOrder { .. }
    ));
    assert!(matches!(
        refused(snapshot(size, 3), &[page(1), page(3)]),
        Error::SnapshotIncomplete { .. }
    ));
    assert!(matches!(
        refused(snapshot(size, 3), &[page(1), page(2)]),
        Error::SnapshotIncomplete { .. }
    ));
    assert!(matches!(
        refused(snapshot(size, 3), &[]),
        Error::SnapshotIncomplete { .. }
    ));
    assert!(matches!(
        refused(snapshot(size, 0), &[page(1)]),
        Error::PageBeyondCommit { .. }
    ));
}

#[test]
fn a_post_apply_checksum_that_cannot_be_is_refused() {
    let size = page_size(512);
    let (whole, part) = three_pages(size);
    let other = Checksum::from_raw(1 << 63 | 77);
    let verified = |bytes: Vec<u8>| verify(&bytes[..]);
    let other_sum = verified(whole.changed(|file| file.post_apply_checksum = other));
    assert!(matches!(other_sum, Err(Error::PostApplyChecksum { found, .. }) if found == other));
    assert!(verified(part.changed(|file| file.post_apply_checksum = other)).is_ok());
    for wrong in [Checksum::NONE, Checksum::from_raw(77)] {
        let no_flag = verified(part.changed(|file| file.post_apply_checksum = wrong));
        assert!(matches!(no_flag, Err(Error::PostApplyChecksum { .. })));
    }

    let dropped = Forged::new(increment(size, 0, other), &[], Checksum::EMPTY);
    assert!(verified(dropped.bytes()).is_ok());
    let not_empty = verified(dropped.changed(|file| file.post_apply_checksum = other));
    assert!(matches!(
        not_empty,
        Err(Error::PostApplyChecksum {
            expected: Checksum::EMPTY,
            ..
        })
    ));

    let untracked = |file: &mut Forged| file.header[7] = 2;
    let with_checksum = verified(whole.changed(untracked));
    assert!(matches!(
        with_checksum,
        Err(Error::PostApplyChecksum {
            expected: Checksum::NONE,
            ..
        })
    ));
    let without = whole.changed(|file| {
        untracked(file);
        file.post_apply_checksum = Checksum::NONE;
    });
    assert!(verified(without).is_ok());
}

#[test]
fn a_page_of_another_length_is_refused() {
    let (whole, part) = three_pages(page_size(512));
    for forged in [whole, part] {
        for len in [511, 513, 1024, 600_000] {
            let bytes = forged.changed(|file| file.pages[1].1.resize(len, 0));
            assert!(
                matches!(verify(&bytes[..]), Err(Error::PageData { .. })),
                "{len}"
            );
        }
    }
}
