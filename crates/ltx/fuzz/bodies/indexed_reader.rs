//! Reads any bytes by their page index.

use std::io::Cursor;

use ltx::{IndexedReader, read_ends};

/// Must not panic, whatever the bytes are.
pub(crate) fn run(data: &[u8]) {
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
}
