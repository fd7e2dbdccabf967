//! The write-ahead log: salts, restarts, frames.

use std::collections::BTreeSet;

use super::{MANY, PAGE, Plain, number, read};

const INSERT: &str = "INSERT INTO t(x) VALUES (randomblob(100));";
const HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;

fn salts(plain: &Plain) -> (u32, u32) {
    let log = read(&plain.companion("-wal"));
    (number(&log, 16), number(&log, 20))
}

/// The salts of each frame in the file.
fn frames(plain: &Plain) -> Vec<(u32, u32)> {
    let log = read(&plain.companion("-wal"));
    log[HEADER..]
        .chunks_exact(FRAME)
        .map(|frame| (number(frame, 8), number(frame, 12)))
        .collect()
}

const MADE: &str = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
    CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x);";

#[test]
fn after_a_restart_the_old_frames_are_still_there() {
    let plain = Plain::new();
    let mut session = plain.open(&format!("{MADE} {}", INSERT.repeat(5)));
    let old = salts(&plain);
    session.rows(&format!("PRAGMA wal_checkpoint; {INSERT}"));
    let new = salts(&plain);
    assert_eq!(new.0, old.0.wrapping_add(1));
    let frames = frames(&plain);
    assert_eq!(frames[0], new);
    assert_eq!(frames.last(), Some(&old));
}

/// What a connection at synchronous=OFF did between two looks can be gone, and the salts do not tell.
#[test]
fn a_restart_without_a_sync_can_hide_frames_behind_the_next_salt() {
    let plain = Plain::new();
    let mut full = plain.open(&format!(
        "{MADE} PRAGMA synchronous = full; {}",
        INSERT.repeat(3)
    ));
    let mut off = plain.open("PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0");
    let mut reader = plain.open("BEGIN; SELECT count(*) FROM t");
    full.rows("PRAGMA wal_checkpoint");
    let (old, before) = (salts(&plain), frames(&plain).len());
    off.rows(&INSERT.repeat(3));
    assert!(
        frames(&plain).len() > before,
        "while a reader is there it goes on"
    );
    reader.rows("COMMIT");
    off.rows("PRAGMA wal_checkpoint");
    off.rows(&INSERT.repeat(20));
    assert_eq!(salts(&plain).0, old.0.wrapping_add(1));
    assert!(
        frames(&plain).iter().all(|frame| *frame == salts(&plain)),
        "all that was there is overwritten"
    );
    assert_eq!(full.value("SELECT count(*) FROM t"), "26");
}

#[test]
fn another_connection_begins_an_emptied_log_with_new_salts() {
    let plain = Plain::new();
    let mut session = plain.open(&format!("{MADE} {INSERT}"));
    let mut other = plain.open("SELECT count(*) FROM t");
    let old = salts(&plain);
    other.rows("PRAGMA wal_checkpoint(TRUNCATE)");
    session.rows(INSERT);
    let emptied = salts(&plain);
    assert_ne!(emptied, old);
    other.close();
    session.close();
    assert!(!plain.companion("-wal").exists());
    let _session = plain.open(INSERT);
    let made_anew = salts(&plain);
    assert_ne!(made_anew.0, emptied.0.wrapping_add(1));
    assert_ne!(made_anew, emptied);
}

#[test]
fn each_page_of_a_file_that_grew_has_a_frame() {
    let plain = Plain::new();
    let mut session = plain.open(MADE);
    session.rows(&format!("PRAGMA cache_size = 3; {MANY}"));
    let log = read(&plain.companion("-wal"));
    let pages: BTreeSet<u32> = log[HEADER..]
        .chunks_exact(FRAME)
        .map(|frame| number(frame, 0))
        .collect();
    let count: u32 = session
        .value("PRAGMA page_count")
        .parse()
        .expect("a number");
    assert!((1..=count).all(|page| pages.contains(&page)), "{pages:?}");
}
