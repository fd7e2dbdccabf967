//! Rollback journals and the page cache.

use std::collections::BTreeSet;
use std::fs;

use super::{MANY, PAGE, Plain, changed, number, read};

/// A database with free pages, and what it was then.
fn with_free_pages(plain: &Plain) -> (harness::client::Session, Vec<u8>) {
    let session = plain.open(&format!(
        "PRAGMA journal_mode = persist; CREATE TABLE t(id INTEGER PRIMARY KEY, x); {MANY}
         DELETE FROM t WHERE id > 5"
    ));
    let before = plain.bytes();
    (session, before)
}

/// The pages of the journal of one segment that journal_mode=PERSIST leaves behind; only its header is gone.
fn journaled(journal: &[u8]) -> BTreeSet<u32> {
    const SECTOR: usize = 512;
    const RECORD: usize = PAGE + 8;
    journal[SECTOR..]
        .chunks_exact(RECORD)
        .map(|record| number(record, 0))
        .collect()
}

#[test]
fn free_pages_that_are_used_again_are_not_journaled() {
    let plain = Plain::new();
    let (mut session, before) = with_free_pages(&plain);
    // Nothing is left of longer journals before this one.
    fs::write(plain.companion("-journal"), "").expect("the directory of a stage is ours");
    session.rows(MANY);
    let journaled = journaled(&read(&plain.companion("-journal")));
    let changed = changed(&before, &plain.bytes());
    assert!(journaled.contains(&1), "{journaled:?}");
    let missing = changed.difference(&journaled).count();
    assert!(missing > 20, "changed {changed:?}, journaled {journaled:?}");
}

#[test]
fn a_rollback_after_a_spill_leaves_free_pages_changed() {
    let plain = Plain::new();
    let (mut session, before) = with_free_pages(&plain);
    session.rows(&format!("PRAGMA cache_size = 2; BEGIN; {MANY} ROLLBACK"));
    let changed = changed(&before, &plain.bytes());
    assert!(changed.len() > 10, "{changed:?}");
    assert_eq!(session.value("SELECT count(*) FROM t"), "5");
    assert_eq!(session.value("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_reader_keeps_its_cache_while_bytes_24_to_39_are_the_same() {
    let plain = Plain::new();
    let other = Plain::new();
    for (plain, value) in [(&plain, 1), (&other, 2)] {
        let made = "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, ";
        plain.open(&format!("{made}{value})")).close();
    }
    let (here, there) = (plain.bytes(), other.bytes());
    assert_eq!(here[24..40], there[24..40]);
    let value = "SELECT x FROM t";
    let mut reader = plain.open("");
    assert_eq!(reader.value(value), "1");
    fs::write(&plain.database, there).expect("the directory of a stage is ours");
    assert_eq!(reader.value(value), "1", "from its cache");
    assert_eq!(plain.open("").value(value), "2");
}

#[test]
fn exclusive_locking_changes_the_counter_once() {
    let plain = Plain::new();
    let mut session = plain.open(
        "CREATE TABLE t(x); INSERT INTO t VALUES (1); PRAGMA locking_mode = exclusive; UPDATE t SET x = 2",
    );
    let first = plain.bytes();
    session.rows("UPDATE t SET x = 3");
    let second = plain.bytes();
    assert_ne!(first, second);
    assert_eq!(first[24..40], second[24..40]);
}
