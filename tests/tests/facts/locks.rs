//! Which locks keep SQLite from what.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::Plain;

const INSERT: &str = "INSERT INTO t(x) VALUES (randomblob(100));";
const MADE: &str = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
    CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES (1);";
const WRITE: i64 = 120;
const CHECKPOINT: i64 = 121;
const READ_1: i64 = 124;
const SHARED: i64 = 0x4000_0002;

/// An open-file-description lock on one byte, until dropped.
struct Held(#[expect(dead_code, reason = "the lock goes with the description")] File);

fn hold(path: &Path, kind: libc::c_int, start: i64) -> Held {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // SAFETY: all bytes zero is a valid flock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (start, 1);
    // SAFETY: the descriptor is open and the pointer is to a flock that lives until the call returns.
    let code = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
    Held(file)
}

fn salt(plain: &Plain) -> u32 {
    super::number(&super::read(&plain.companion("-wal")), 16)
}

#[test]
fn a_log_restarts_without_the_checkpoint_lock() {
    let plain = Plain::new();
    let mut session = plain.open(MADE);
    session.rows("PRAGMA wal_checkpoint");
    let before = salt(&plain);
    let _held = hold(&plain.companion("-shm"), libc::F_WRLCK, CHECKPOINT);
    session.rows(INSERT);
    assert_ne!(salt(&plain), before);
}

#[test]
fn a_read_mark_keeps_the_log_from_restarting() {
    let plain = Plain::new();
    let mut session = plain.open(MADE);
    session.rows("PRAGMA wal_checkpoint");
    let before = salt(&plain);
    let held = hold(&plain.companion("-shm"), libc::F_RDLCK, READ_1);
    session.rows(INSERT);
    assert_eq!(salt(&plain), before);
    assert_eq!(session.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0], "1");
    drop(held);
    assert_eq!(session.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0], "0");
}

#[test]
fn an_exclusive_connection_takes_no_notice_of_the_locks_of_the_index() {
    let plain = Plain::new();
    let mut exclusive = plain.open(&format!("{MADE} PRAGMA locking_mode = exclusive; {INSERT}"));
    let shm = plain.companion("-shm");
    if !shm.exists() {
        std::fs::write(&shm, [0; 128]).expect("the directory of a stage is ours");
    }
    let _write = hold(&shm, libc::F_WRLCK, WRITE);
    let _checkpoint = hold(&shm, libc::F_WRLCK, CHECKPOINT);
    exclusive.rows(INSERT);
    assert_eq!(exclusive.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0], "0");
    exclusive.rows(INSERT);
    assert_eq!(exclusive.value("SELECT count(*) FROM t"), "4");
}

#[test]
fn shared_on_the_database_keeps_it_from_being_exclusive_and_from_leaving_wal_mode() {
    let plain = Plain::new();
    plain.open(MADE).close();
    let _held = hold(&plain.database, libc::F_RDLCK, SHARED);
    let mut session = plain.open("PRAGMA locking_mode = exclusive");
    assert_eq!(session.error(INSERT).text, "database is locked");
    let mut session = plain.open(INSERT);
    let refused = session.error("PRAGMA journal_mode = delete");
    assert_eq!(refused.text, "database is locked");
}

#[test]
fn the_last_close_removes_the_log_whoever_holds_the_checkpoint_lock() {
    let plain = Plain::new();
    let session = plain.open(&format!("{MADE} {INSERT}"));
    let _held = hold(&plain.companion("-shm"), libc::F_WRLCK, CHECKPOINT);
    session.close();
    assert!(!plain.companion("-wal").exists());
}

#[test]
fn shared_on_the_database_keeps_the_log_from_being_removed() {
    let plain = Plain::new();
    let session = plain.open(&format!("{MADE} {INSERT}"));
    let _held = hold(&plain.database, libc::F_RDLCK, SHARED);
    session.close();
    assert!(plain.companion("-wal").exists());
}
