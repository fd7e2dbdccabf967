//! Reads any bytes from front to back, and through a compaction when they are a file.

use ltx::{Reader, compact, verify};

/// Must not panic, whatever the bytes are.
pub(crate) fn run(data: &[u8]) {
    if let Ok(mut reader) = Reader::new(data) {
        let page_size = reader.header().page_size.bytes();
        let mut page = Vec::new();
        while let Ok(Some(_)) = reader.next_page(&mut page) {
            assert_eq!(page.len(), page_size);
        }
        let _ = reader.finish();
    }
    if let Ok(ends) = verify(data) {
        let mut output = Vec::new();
        let (_, trailer) = compact(vec![data], &mut output).unwrap();
        assert_eq!(trailer.post_apply_checksum, ends.1.post_apply_checksum);
        verify(&output[..]).unwrap();
    }
}
