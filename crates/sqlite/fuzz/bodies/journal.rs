//! A rollback journal of arbitrary bytes: records lie within the file and do not overlap.

use std::io::Cursor;

use sqlite::journal::{Journal, JournalState};

/// Must not panic, whatever the bytes are.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(mut journal) = Journal::open(Cursor::new(bytes)) else {
        return;
    };
    assert_eq!(
        journal.state() == JournalState::Valid,
        journal.header().is_some()
    );
    if let Some(name) = journal.super_journal_name() {
        assert!(bytes[..bytes.len() - 16].ends_with(&name));
    }
    let mut records = journal.records();
    let mut end = 0;
    while let Some(record) = records.next() {
        let at = record.expect("memory does not fail").offset_of_page as usize;
        assert!(at > end);
        end = at + records.page().len();
        assert_eq!(records.page(), &bytes[at..end]);
    }
}
