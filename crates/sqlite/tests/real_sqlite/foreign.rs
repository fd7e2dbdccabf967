//! The crate as a WAL writer beside SQLite: what it commits, connections of other processes read.

use std::path::{Path, PathBuf};

use ltx::{PageSize, Pgno};
use sqlite::wal::{FrameChain, Salts, WalHeader};
use sqlite::wal_index::Access;

use crate::python::{Sqlite, companion, insert};
use crate::wal::{Log, create};
use crate::wal_index::assert_indexes;
use crate::writer::{Writer, open_index};

/// A database that SQLite writes, and one of the same content that the crate keeps up with it.
struct Pair {
    _directory: tempfile::TempDir,
    sqlite: Sqlite,
    primary: PathBuf,
    replica: PathBuf,
    writer: Writer,
    /// The frames of the primary's log that were applied.
    applied: u32,
}

impl Pair {
    /// Connection `p` is open on the primary, `r` on the replica.
    fn new(page_size: u32) -> Pair {
        let directory = tempfile::tempdir().unwrap();
        let (primary, replica) = (directory.path().join("p.db"), directory.path().join("r.db"));
        let mut sqlite = Sqlite::start();
        create(&mut sqlite, "p", &primary, page_size);
        sqlite.sql("p", &insert(50, 400));
        sqlite.sql("p", "pragma wal_checkpoint(truncate)");
        std::fs::copy(&primary, &replica).unwrap();
        sqlite.open("r", &replica, "");
        sqlite.sql("r", "pragma wal_autocheckpoint = 0");
        sqlite.sql("r", "select count(*) from t");
        let writer = Writer::open(&replica, PageSize::new(page_size).unwrap());
        Pair {
            _directory: directory,
            sqlite,
            primary,
            replica,
            writer,
            applied: 0,
        }
    }

    fn commit(&mut self, statement: &str) {
        self.sqlite.sql("p", statement);
        self.apply();
    }

    fn apply(&mut self) {
        let log = Log::read(&self.primary);
        let (pages, page_count) = log.committed(self.applied);
        self.writer.apply(&pages, page_count);
        self.applied = log.end.frame();
    }

    /// The old connection, and one of a new process, read what the primary has.
    fn assert_equal(&mut self) {
        let content = "select count(*), sum(v), sum(length(data)), max(hex(data)) from t";
        let expected = self.sqlite.sql("p", content);
        assert_eq!(self.sqlite.sql("r", content), expected);
        assert_eq!(self.sqlite.sql("r", "pragma integrity_check"), "ok");
        let mut fresh = Sqlite::connected("r", &self.replica);
        assert_eq!(fresh.sql("r", content), expected);
        assert_eq!(fresh.sql("r", "pragma integrity_check"), "ok");
        fresh.close("r");
    }

    fn assert_indexed(&self) {
        assert_indexes(
            &open_index(&self.replica, Access::ReadOnly),
            &Log::read(&self.replica),
        );
    }
}

#[test]
fn connections_read_what_is_appended() {
    for page_size in [512, 4096, 65536] {
        let mut pair = Pair::new(page_size);
        for statement in [
            "update t set v = 1",
            "delete from t where rowid > 30",
            "create index i on t (v)",
        ] {
            pair.commit(statement);
            pair.assert_equal();
        }
        pair.assert_indexed();
    }
}

#[test]
fn the_index_grows_over_several_blocks() {
    let mut pair = Pair::new(512);
    for _ in 0..4 {
        pair.commit(&insert(3000, 400));
        pair.commit("update t set v = v + 1 where rowid % 7 = 0");
        pair.assert_equal();
    }
    let header = pair.writer.index.header().unwrap();
    assert!(header.mx_frame > 4062 + 2 * 4096, "{}", header.mx_frame);
    let shm = companion(&pair.replica, "-shm").metadata().unwrap();
    assert_eq!(shm.len() % 32768, 0);
    assert_eq!(
        std::os::unix::fs::MetadataExt::blocks(&shm) * 512,
        shm.len(),
        "-shm is not sparse"
    );
    pair.assert_indexed();
}

#[test]
fn sqlite_goes_on_where_the_foreign_writer_stopped_and_back() {
    let mut pair = Pair::new(1024);
    pair.commit("update t set v = 1");
    pair.sqlite.sql("r", "create table own (x)");
    assert_eq!(pair.sqlite.sql("r", "pragma integrity_check"), "ok");
    pair.assert_indexed();
    // The same content once more, as one transaction behind that of `r`.
    let (pages, page_count) = Log::read(&pair.replica).committed(0);
    pair.writer.apply(&pages, page_count);
    assert_eq!(pair.sqlite.sql("r", "select count(*) from own"), "0");
    assert_eq!(pair.sqlite.sql("r", "pragma integrity_check"), "ok");
    pair.assert_indexed();
}

#[test]
fn a_checkpointed_log_is_restarted() {
    let mut pair = Pair::new(1024);
    for round in 1..=3 {
        pair.commit(&insert(200, 900));
        assert!(!pair.writer.restart(), "the log is not checkpointed");
        let frames = pair.writer.index.header().unwrap().mx_frame;
        let expected = format!("0,{frames},{frames}");
        assert_eq!(
            pair.sqlite.sql("r", "pragma wal_checkpoint(passive)"),
            expected
        );
        let salts = pair.writer.index.header().unwrap().salts;
        assert!(pair.writer.restart());
        pair.assert_equal();
        pair.commit("update t set v = v + 1 where rowid < 20");
        pair.assert_equal();
        let header = pair.writer.index.header().unwrap();
        assert!(header.mx_frame < frames);
        assert_eq!(header.salts, salts.next(round));
        pair.assert_indexed();
    }
}

#[test]
fn a_log_with_a_reader_is_not_restarted() {
    let mut pair = Pair::new(1024);
    pair.commit("update t set v = 1");
    pair.sqlite.sql("r", "begin");
    assert_eq!(pair.sqlite.sql("r", "select max(v) from t"), "1");
    pair.sqlite.open("c", &pair.replica, "");
    pair.sqlite.sql("c", "pragma wal_checkpoint(passive)");
    assert!(!pair.writer.restart());
    pair.commit("update t set v = 2");
    assert_eq!(pair.sqlite.sql("r", "select max(v) from t"), "1");
    pair.sqlite.sql("r", "end");
    pair.assert_equal();
}

#[test]
fn remnants_of_a_foreign_writer_do_not_disturb_sqlite() {
    let mut pair = Pair::new(512);
    pair.commit("update t set v = 1");
    let (pages, _) = Log::read(&pair.primary).committed(0);
    pair.writer.abandon(&pages);
    let before = pair.writer.index.header().unwrap().mx_frame;
    pair.sqlite.sql("r", "update t set v = 7 where rowid = 1");
    assert_eq!(
        pair.sqlite.sql("r", "select sum(v = 7), count(*) from t"),
        "1,50"
    );
    assert_eq!(pair.sqlite.sql("r", "pragma integrity_check"), "ok");
    assert!(pair.writer.index.header().unwrap().mx_frame < before + pages.len() as u32);
    pair.assert_indexed();
}

#[test]
fn remnants_of_sqlite_are_removed() {
    for spilled_rows in [100, 6000] {
        let mut pair = Pair::new(512);
        pair.commit("update t set v = 1");
        let before = pair.writer.index.header().unwrap().mx_frame;
        spill_and_die(&pair.replica, spilled_rows);
        let stale = open_index(&pair.replica, Access::ReadOnly);
        assert!(
            stale.page_of_frame(before + 50).is_some(),
            "the writer left entries"
        );
        pair.commit("update t set v = 2 where rowid < 5");
        let after = pair.writer.index.header().unwrap().mx_frame;
        assert!(after < before + 50);
        assert_eq!(stale.page_of_frame(after + 1), None);
        pair.assert_equal();
        // Over the places of all that was left, into the next block.
        pair.commit(&insert(spilled_rows * 2, 400));
        pair.assert_equal();
        pair.assert_indexed();
    }
}

/// A process that spills frames to the log and is killed in its transaction.
fn spill_and_die(database: &Path, rows: u32) {
    let mut sqlite = Sqlite::connected("a", database);
    sqlite.sql("a", "pragma cache_size = 10");
    sqlite.sql("a", "begin");
    sqlite.sql("a", &insert(rows, 400));
}

#[test]
fn committed_entries_are_not_overwritten() {
    let mut pair = Pair::new(512);
    pair.commit("update t set v = 1");
    let header = pair.writer.index.header().unwrap();
    for frame in [0, 1, header.mx_frame] {
        let error = pair
            .writer
            .index
            .append(frame, Pgno::FIRST, header.mx_frame)
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    pair.assert_indexed();
}

#[test]
fn readers_see_whole_transactions_only() {
    const COMMITS: u32 = 300;
    let mut pair = Pair::new(512);
    let mut reader = Sqlite::connected("w", &pair.replica);
    reader.watch("w", COMMITS);
    for _ in 0..COMMITS {
        pair.commit("update t set v = v + 1");
    }
    assert!(reader.watched() > 1);
    pair.assert_equal();
}

#[test]
fn a_log_of_either_byte_order_is_continued_and_recovered() {
    for big_endian_checksum in [false, true] {
        let mut pair = Pair::new(1024);
        pair.sqlite.sql("p", "update t set v = 1");
        let (first, page_count) = Log::read(&pair.primary).committed(0);
        let database = pair.replica.with_file_name("x.db");
        std::fs::copy(&pair.replica, &database).unwrap();
        let salts = Salts { salt1: 8, salt2: 9 };
        let page_size = PageSize::new(1024).unwrap();
        let header = WalHeader {
            big_endian_checksum,
            ..WalHeader::new(page_size, 0, salts)
        };
        let mut log = header.encode().to_vec();
        let mut chain = FrameChain::new(&WalHeader::parse(&log).unwrap());
        for (&pgno, page) in &first {
            chain.append(pgno, page_count, page, &mut log);
        }
        std::fs::write(companion(&database, "-wal"), log).unwrap();

        pair.sqlite.open("x", &database, "");
        assert_eq!(pair.sqlite.sql("x", "select sum(v) from t"), "50");
        pair.sqlite.sql("p", "update t set v = 2");
        let (second, page_count) = Log::read(&pair.primary).committed(first.len() as u32);
        Writer::open(&database, page_size).apply(&second, page_count);
        assert_eq!(pair.sqlite.sql("x", "select sum(v) from t"), "100");
        assert_eq!(
            Log::read(&database).header.big_endian_checksum,
            big_endian_checksum
        );

        // Without an index the next opener has nothing but the log.
        drop(pair.sqlite);
        std::fs::remove_file(companion(&database, "-shm")).unwrap();
        let mut fresh = Sqlite::connected("x", &database);
        assert_eq!(fresh.sql("x", "select sum(v) from t"), "100");
        assert_eq!(fresh.sql("x", "pragma integrity_check"), "ok");
    }
}

#[test]
fn a_read_mark_limits_the_checkpoint() {
    let mut pair = Pair::new(1024);
    pair.commit("update t set v = 1");
    let marked = pair.writer.index.header().unwrap().mx_frame;
    pair.writer.hold_read_mark(4, marked);
    pair.commit("update t set v = 2");
    let frames = pair.writer.index.header().unwrap().mx_frame;
    let checkpoint = pair.sqlite.sql("r", "pragma wal_checkpoint(passive)");
    assert_eq!(checkpoint, format!("0,{frames},{marked}"));
    assert_eq!(pair.writer.index.checkpoint_info().backfill, marked);
    assert_eq!(
        pair.sqlite
            .sql("r", "pragma wal_checkpoint(truncate)")
            .split(',')
            .next(),
        Some("1")
    );
}
