use std::io::Cursor;

use ltx::{Checksum, Compression, Error, IndexedReader};

use crate::fixture::{Page, file, increment, page_size, page_sizes, pgno, snapshot_file};

#[test]
fn single_pages_are_found_and_absent_ones_are_not() {
    for size in page_sizes() {
        for compression in [Compression::Lz4, Compression::None] {
            let pages: Vec<Page> = (1..50)
                .map(|i| Page {
                    pgno: i * 7,
                    seed: i,
                })
                .collect();
            let bytes = file(
                increment(size, 400, Checksum::EMPTY),
                &pages,
                Checksum::EMPTY,
                compression,
            );
            let mut reader = IndexedReader::new(Cursor::new(bytes)).unwrap();
            assert!(reader.pages().eq(pages.iter().map(|page| page.number())));
            let mut content = vec![1; 3];
            for page in pages.iter().rev() {
                assert!(reader.page(page.number(), &mut content).unwrap());
                assert!(content == page.content(size), "{size} page {}", page.pgno);
            }
            for absent in [1, 6, 8, 344, 400, u32::MAX] {
                assert!(
                    !reader.page(pgno(absent), &mut content).unwrap(),
                    "{absent}"
                );
            }
        }
    }
}

#[test]
fn an_index_that_does_not_fit_is_refused() {
    let good = snapshot_file(page_size(512), 3);
    let end = good.len() - 24; // the zero number is the byte before
    let size = u64::from_be_bytes(good[end..end + 8].try_into().unwrap()) as usize;
    let index = end - size;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        IndexedReader::new(Cursor::new(bytes)).err()
    };
    assert!(with(&|_| {}).is_none());
    for (name, error) in [
        ("first number", with(&|bytes| bytes[index] = 2)),
        ("first offset", with(&|bytes| bytes[index + 1] += 1)),
        ("end mark", with(&|bytes| bytes[index - 1] = 1)),
        ("early end", with(&|bytes| bytes[index] = 0)),
        ("no end", with(&|bytes| bytes[end - 1] = 9)),
        ("size too large", with(&|bytes| bytes[end] = 1)),
        ("size too small", with(&|bytes| bytes[end + 7] -= 1)),
        ("size zero", with(&|bytes| bytes[end..end + 8].fill(0))),
        (
            "page left out",
            with(&|bytes| {
                let first = index..index + 4; // number, offset, two bytes of size or the next number
                let len = first.len() as u8;
                bytes.drain(first);
                bytes[end - usize::from(len) + 7] -= len;
            }),
        ),
    ] {
        assert!(error.is_some(), "{name}");
    }
}

#[test]
fn a_page_that_is_another_is_refused() {
    let mut bytes = snapshot_file(page_size(512), 3);
    bytes[100 + 3] = 3; // the number in the page header of page 1
    let mut reader = IndexedReader::new(Cursor::new(&bytes)).unwrap();
    assert!(matches!(
        reader.page(pgno(1), &mut Vec::new()),
        Err(Error::PageIndex { .. })
    ));
    assert!(reader.page(pgno(2), &mut Vec::new()).unwrap());
    bytes[100 + 3] = 1;
    bytes[100 + 9] += 1; // the size of its block
    let mut reader = IndexedReader::new(Cursor::new(&bytes)).unwrap();
    assert!(matches!(
        reader.page(pgno(1), &mut Vec::new()),
        Err(Error::PageData { .. })
    ));
}
