//! Reads any bytes by their page index.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use ltx::{IndexedReader, read_ends};

fuzz_target!(|data: &[u8]| {
    let ends = read_ends(&mut Cursor::new(data));
    let Ok(mut reader) = IndexedReader::new(Cursor::new(data)) else {
        return;
    };
    let (header, trailer) = ends.unwrap();
    assert_eq!((&header, &trailer), (reader.header(), reader.trailer()));
    let pages: Vec<_> = reader.pages().collect();
    let mut page = Vec::new();
    for pgno in pages {
        if let Ok(found) = reader.page(pgno, &mut page) {
            assert!(found);
            assert_eq!(page.len(), header.page_size.bytes());
        }
    }
});
