//! Files that are databases, and files that are not or not quite.

use std::fs;

use rusqlite::Connection;

use super::*;

/// A directory of its own that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path =
            std::env::temp_dir().join(format!("litefs-import-{:016x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    /// A small database in rollback mode, with an open connection.
    fn database(&self) -> (PathBuf, Connection) {
        let path = self.0.join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000))")
            .unwrap();
        (path, connection)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refused(path: &Path) -> String {
    format!("{:#}", Source::open(path).unwrap_err())
}

#[test]
fn a_database_is_read_whole() {
    let directory = Directory::new();
    let (path, _connection) = directory.database();
    let expected = fs::read(&path).unwrap();
    let source = Source::open(&path).unwrap();
    assert_eq!(source.size(), expected.len() as u64);
    let mut read = Vec::new();
    source
        .read(|piece| {
            read.extend(piece);
            true
        })
        .unwrap();
    assert_eq!(read, expected);
}

#[test]
fn what_is_not_a_whole_database_is_refused() {
    let directory = Directory::new();
    let (path, _connection) = directory.database();
    let shown = path.display().to_string();
    let whole = fs::read(&path).unwrap();
    for (bytes, expected) in [
        (
            Vec::new(),
            format!("{shown} is empty: it holds no database yet"),
        ),
        (
            vec![b'x'; 4096],
            format!("{shown}: database header: not a SQLite database"),
        ),
        (
            whole[..50].to_vec(),
            format!("{shown}: database header: 50 bytes where 100 are needed"),
        ),
        (
            whole[..whole.len() - 1].to_vec(),
            format!(
                "{shown} has {} bytes, which is not a multiple of its page size 4096: it is cut off",
                whole.len() - 1
            ),
        ),
        (
            whole[..whole.len() - 4096].to_vec(),
            format!(
                "{shown} has {} pages of 4096 bytes, its header says {}: it is cut off",
                whole.len() / 4096 - 1,
                whole.len() / 4096
            ),
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(refused(&path), expected);
    }
    assert!(refused(&directory.0).ends_with("is not a regular file"));
    assert!(refused(&directory.0.join("none")).contains("No such file"));
}

#[test]
fn pages_beyond_the_database_are_left_out() {
    let directory = Directory::new();
    let (path, _connection) = directory.database();
    let mut bytes = fs::read(&path).unwrap();
    let size = bytes.len() as u64;
    bytes.extend([7; 4096]);
    fs::write(&path, bytes).unwrap();
    assert_eq!(Source::open(&path).unwrap().size(), size);
}

#[test]
fn a_log_or_journal_with_content_is_refused_with_what_to_do() {
    let directory = Directory::new();
    let (path, connection) = directory.database();
    drop(connection);
    let shown = path.display();
    fs::write(companion(&path, "-wal"), b"w").unwrap();
    assert_eq!(
        refused(&path),
        format!(
            "{shown} is not the whole database: {shown}-wal has content; write it back first: sqlite3 {shown} \
             'PRAGMA wal_checkpoint(TRUNCATE)'"
        )
    );
    fs::write(companion(&path, "-wal"), b"").unwrap();
    fs::write(companion(&path, "-journal"), [0xd9]).unwrap();
    assert_eq!(
        refused(&path),
        format!(
            "{shown} has an unfinished transaction: {shown}-journal has content; roll it back first: sqlite3 {shown} \
             'PRAGMA schema_version'"
        )
    );
    // What journal_mode=PERSIST leaves behind.
    fs::write(companion(&path, "-journal"), [0; 512]).unwrap();
    Source::open(&path).unwrap();
}

#[test]
fn a_commit_while_the_file_is_read_stops_the_import_before_its_last_piece() {
    let directory = Directory::new();
    let (path, connection) = directory.database();
    connection
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let source = Source::open(&path).unwrap();
    connection
        .execute_batch("INSERT INTO t VALUES (1)")
        .unwrap();
    let mut pieces = 0;
    let error = source.read(|_| {
        pieces += 1;
        true
    });
    assert!(
        format!("{:#}", error.unwrap_err())
            .starts_with("the database was written to while it was read: ")
    );
    assert_eq!(pieces, 0, "the file is one piece");
}

#[test]
fn a_writer_in_rollback_mode_and_the_import_keep_each_other_out() {
    let directory = Directory::new();
    let (path, connection) = directory.database();
    connection
        .execute_batch("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES (1)")
        .unwrap();
    assert!(refused(&path).contains("is being written by another process"));
    connection
        .execute_batch("PRAGMA locking_mode=NORMAL; SELECT * FROM t")
        .unwrap();
    let source = Source::open(&path).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let busy = connection
        .execute_batch("INSERT INTO t VALUES (2)")
        .unwrap_err();
    assert_eq!(
        busy.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
    drop(source);
    connection
        .execute_batch("INSERT INTO t VALUES (2)")
        .unwrap();
}
