use std::collections::BTreeMap;
use std::path::Path;

use ltx::Pgno;
use sqlite::header::DatabaseHeader;
use sqlite::wal::{ChainBreak, FrameChain, FrameHeader, WalHeader};

use crate::python::{Sqlite, companion, insert};

/// All frames of a log that chain, and why the first that does not does not.
pub(crate) struct Log {
    pub(crate) header: WalHeader,
    pub(crate) frames: Vec<(FrameHeader, Vec<u8>)>,
    pub(crate) end: FrameChain,
    pub(crate) reason: ChainBreak,
}

impl Log {
    pub(crate) fn read(database: &Path) -> Log {
        let bytes = std::fs::read(companion(database, "-wal")).unwrap();
        let header = WalHeader::parse(&bytes).unwrap();
        let mut log = Log {
            header,
            frames: vec![],
            end: FrameChain::new(&header),
            reason: ChainBreak::Short,
        };
        loop {
            let at = sqlite::wal::frame_offset(header.page_size, log.end.frame() + 1) as usize;
            match log.end.next(&bytes[at.min(bytes.len())..]) {
                Ok((frame, chain)) => {
                    let page = bytes[at + FrameHeader::SIZE..][..header.page_size.bytes()].to_vec();
                    log.frames.push((frame, page));
                    log.end = chain;
                }
                Err(reason) => {
                    log.reason = reason;
                    return log;
                }
            }
        }
    }

    pub(crate) fn commits(&self) -> usize {
        self.frames
            .iter()
            .filter(|(frame, _)| frame.is_commit())
            .count()
    }

    /// Pages of committed frames from `after` on, the last version of each, and the size of the database.
    pub(crate) fn committed(&self, after: u32) -> (BTreeMap<Pgno, Vec<u8>>, u32) {
        let last = self
            .frames
            .iter()
            .rposition(|(frame, _)| frame.is_commit())
            .map_or(0, |index| index + 1);
        let frames = self.frames[..last].iter().skip(after as usize);
        let pages = frames
            .map(|(frame, page)| (frame.pgno, page.clone()))
            .collect();
        (
            pages,
            self.frames[..last]
                .last()
                .map_or(0, |(frame, _)| frame.commit),
        )
    }
}

/// A WAL database with a table `t (v, data)` and no automatic checkpoint.
pub(crate) fn create(sqlite: &mut Sqlite, name: &str, database: &Path, page_size: u32) {
    sqlite.open(name, database, "");
    sqlite.sql(name, &format!("pragma page_size = {page_size}"));
    sqlite.sql(name, "pragma journal_mode = wal");
    sqlite.sql(name, "pragma wal_autocheckpoint = 0");
    sqlite.sql(name, "create table t (v, data)");
}

#[test]
fn the_frames_are_the_database_of_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    for page_size in [512, 1024, 4096, 32768, 65536] {
        let path = directory.path().join(format!("{page_size}.db"));
        let mut sqlite = Sqlite::start();
        create(&mut sqlite, "a", &path, page_size);
        for rows in [1, 30, 7] {
            sqlite.sql("a", &insert(rows, page_size));
        }
        sqlite.sql("a", "delete from t where rowid > 20");
        let mut database = std::fs::read(&path).unwrap();
        let log = Log::read(&path);
        assert_eq!(
            (log.header.page_size.get(), log.reason),
            (page_size, ChainBreak::Short)
        );
        assert_eq!(
            log.header.encode(),
            std::fs::read(companion(&path, "-wal")).unwrap()[..32]
        );
        assert_eq!(log.commits(), 5);
        let (pages, count) = log.committed(0);
        database.resize(count as usize * page_size as usize, 0);
        for (pgno, page) in pages {
            let at = log.header.page_size.offset(pgno) as usize;
            database[at..at + page.len()].copy_from_slice(&page);
        }
        assert!(DatabaseHeader::parse(&database).unwrap().is_wal());
        assert_eq!(sqlite.sql("a", "pragma wal_checkpoint(truncate)"), "0,0,0");
        assert!(std::fs::read(&path).unwrap() == database, "{page_size}");
    }
}

#[test]
fn frames_encode_to_what_sqlite_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::start();
    create(&mut sqlite, "a", &path, 4096);
    sqlite.sql("a", &insert(30, 3000));
    let log = Log::read(&path);
    let mut chain = FrameChain::new(&log.header);
    let mut bytes = log.header.encode().to_vec();
    for (frame, page) in &log.frames {
        chain.append(frame.pgno, frame.commit, page, &mut bytes);
    }
    assert!(chain == log.end && bytes == std::fs::read(companion(&path, "-wal")).unwrap());
}

#[test]
fn a_restarted_log_ends_where_the_old_frames_begin() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::start();
    create(&mut sqlite, "a", &path, 1024);
    sqlite.sql("a", &insert(50, 1000));
    let old = Log::read(&path);
    assert!(
        sqlite
            .sql("a", "pragma wal_checkpoint(restart)")
            .starts_with("0,")
    );
    sqlite.sql("a", "update t set v = 1 where rowid = 1");
    let new = Log::read(&path);
    assert_eq!(
        new.header.salts,
        old.header.salts.next(new.header.salts.salt2)
    );
    assert_ne!(new.header.salts.salt2, old.header.salts.salt2);
    assert_eq!((new.reason, new.commits()), (ChainBreak::Salts, 1));
    assert!(new.frames.len() < old.frames.len());
}

#[test]
fn spilled_frames_chain_and_commit_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let mut sqlite = Sqlite::start();
    create(&mut sqlite, "a", &path, 1024);
    sqlite.sql("a", &insert(100, 1000));
    let before = Log::read(&path);
    sqlite.sql("a", "pragma cache_size = 10");
    sqlite.sql("a", "begin");
    sqlite.sql("a", "update t set data = randomblob(1000)");
    sqlite.sql("a", "rollback");
    let spilled = Log::read(&path);
    assert!(spilled.frames.len() > before.frames.len() + 20);
    assert_eq!(
        (spilled.commits(), spilled.reason),
        (before.commits(), ChainBreak::Short)
    );

    sqlite.sql("a", "update t set v = 2 where rowid = 1");
    let after = Log::read(&path);
    assert_eq!(
        (after.commits(), after.reason),
        (before.commits() + 1, ChainBreak::Checksum)
    );
    assert!(after.frames.len() < spilled.frames.len());
}
