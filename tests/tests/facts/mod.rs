//! The facts by topic, and how the files are looked at.

mod locks;
mod rollback;
mod wal;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::client::{Access, Session};
use harness::{PlainDirectory, Stage};

const PAGE: usize = 4096;
const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
    INSERT INTO t(x) SELECT randomblob(6000) FROM n;";

/// A database in a directory of its own.
struct Plain {
    stage: Stage,
    database: PathBuf,
}

impl Plain {
    fn new() -> Plain {
        let stage = Stage::new(Duration::from_secs(60));
        let database = PlainDirectory::new(&stage, "plain").database("app");
        Plain { stage, database }
    }

    fn open(&self, sql: &str) -> Session {
        let mut session = Session::open(self.stage.tag(), &self.database, Access::Create);
        session.rows(&format!("PRAGMA busy_timeout = 100; {sql}"));
        session
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn bytes(&self) -> Vec<u8> {
        read(&self.database)
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A big-endian number, as SQLite's files have them.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The pages in which two files differ, as far as both go.
fn changed(before: &[u8], after: &[u8]) -> BTreeSet<u32> {
    let pages = before.chunks(PAGE).zip(after.chunks(PAGE));
    (1..)
        .zip(pages)
        .filter_map(|(page, (before, after))| (before != after).then_some(page))
        .collect()
}
