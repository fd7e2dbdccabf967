use std::collections::HashMap;

use sqlite::wal_index::{Access, IndexState, READ_MARK_NOT_USED, WalIndex};

use crate::python::{Sqlite, companion, insert};
use crate::wal::{Log, create};
use crate::writer::open_index;

/// The index agrees with the log, for every frame and every page.
pub(crate) fn assert_indexes(index: &WalIndex, log: &Log) {
    let header = index.header().unwrap();
    let frames = &log.frames[..header.mx_frame as usize];
    let (last, _) = frames.last().unwrap();
    assert_eq!(header.page_size, Some(log.header.page_size));
    assert_eq!(
        (header.salts, header.frame_checksum),
        (log.header.salts, last.checksum)
    );
    assert_eq!(
        (header.page_count, header.big_endian_checksum),
        (last.commit, log.header.big_endian_checksum)
    );
    let mut latest = HashMap::new();
    for (frame, (frame_header, _)) in (1..).zip(frames) {
        assert_eq!(
            index.page_of_frame(frame),
            Some(frame_header.pgno),
            "frame {frame}"
        );
        latest.insert(frame_header.pgno, frame);
        assert_eq!(index.find(frame_header.pgno, frame), Some(frame));
        assert!(index.find(frame_header.pgno, header.mx_frame) >= Some(frame));
    }
    for (pgno, frame) in latest {
        assert_eq!(
            index.find(pgno, header.mx_frame),
            Some(frame),
            "page {pgno}"
        );
    }
}

#[test]
fn the_index_of_sqlite_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (page_size, rows) in [(512, 5000), (4096, 3), (65536, 40)] {
        let path = directory.path().join(format!("{page_size}.db"));
        let mut sqlite = Sqlite::start();
        create(&mut sqlite, "a", &path, page_size);
        sqlite.sql("a", &insert(rows, page_size - 100));
        sqlite.sql("a", "update t set v = 1 where rowid % 3 = 0");
        let log = Log::read(&path);
        let index = open_index(&path, Access::ReadOnly);
        assert_indexes(&index, &log);
        let header = index.header().unwrap();
        assert_eq!(
            (header.mx_frame, header.is_init),
            (log.frames.len() as u32, true)
        );
        assert!(
            page_size != 512 || header.mx_frame > 4062 + 1000,
            "there is a second block"
        );
        let beyond = ltx::Pgno::new(header.page_count + 1).unwrap();
        assert_eq!(index.find(beyond, header.mx_frame), None);
        assert_eq!(
            (index.page_of_frame(0), index.find(ltx::Pgno::FIRST, 0)),
            (None, None)
        );
    }
}

#[test]
fn checkpoints_and_readers_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::start();
    create(&mut sqlite, "a", &path, 4096);
    sqlite.open("b", &path, "");
    sqlite.sql("b", "begin");
    sqlite.sql("b", "select * from t");
    let index = open_index(&path, Access::ReadOnly);
    let first = index.header().unwrap();
    assert!(index.checkpoint_info().read_marks[1..].contains(&first.mx_frame));
    sqlite.sql("a", &insert(10, 1000));
    sqlite.sql("a", "pragma wal_checkpoint(passive)");
    let second = index.header().unwrap();
    let info = index.checkpoint_info();
    assert!(second.mx_frame > first.mx_frame && second.change > first.change);
    assert_eq!(
        (info.backfill, info.backfill_attempted),
        (first.mx_frame, first.mx_frame)
    );
    sqlite.sql("b", "end");
    sqlite.sql("a", "pragma wal_checkpoint(truncate)");
    let info = index.checkpoint_info();
    let header = index.header().unwrap();
    assert_eq!(
        (header.mx_frame, info),
        (0, sqlite::wal_index::CheckpointInfo::RESTARTED)
    );
    assert_eq!(header.salts, second.salts.next(header.salts.salt2));
    assert_eq!(info.read_marks[4], READ_MARK_NOT_USED);
}

#[test]
fn the_states_of_an_index_without_a_header() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let shm = companion(&path, "-shm");
    let mut sqlite = Sqlite::start();
    create(&mut sqlite, "a", &path, 4096);
    let good = std::fs::read(&shm).unwrap();
    let state = |bytes: &[u8]| {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
        WalIndex::open(file, Access::ReadWrite).unwrap().header()
    };
    assert!(state(&good).is_ok());
    assert_eq!(state(&[]), Err(IndexState::Missing));
    assert_eq!(state(&good[..32767]), Err(IndexState::Missing));
    assert_eq!(state(&[0; 32768]), Err(IndexState::Uninitialised));
    let changed = |at: &[usize]| {
        let mut bytes = good.clone();
        at.iter().for_each(|&at| bytes[at] ^= 1);
        state(&bytes)
    };
    assert_eq!(changed(&[16]), Err(IndexState::Torn));
    assert_eq!(changed(&[16 + 48]), Err(IndexState::Torn));
    assert_eq!(changed(&[16, 16 + 48]), Err(IndexState::Torn));
}
