//! Stores without FUSE and network, for tests: what one has is applied to the other.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ltx::Pos;
use store::testing::DirectMount;
use store::{Database, DbName, Epoch, Error, FileKind, NextLtx, Role, Store, StoreConfig};
use tempfile::TempDir;

/// A node: its data directory and, while it runs, its store.
pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) store: Option<Arc<Store>>,
}

pub(crate) const PRIMARY: fn() -> Role = || Role::Primary {
    epoch: Epoch::new(1),
};
pub(crate) const REPLICA: fn() -> Role = || Role::Replica { primary: None };

impl Node {
    pub(crate) fn start(role: Role) -> Node {
        let mut node = Node {
            dir: tempfile::tempdir().unwrap(),
            store: None,
        };
        node.open(role);
        node
    }

    pub(crate) fn open(&mut self, role: Role) {
        self.open_with(role, |_| ());
    }

    pub(crate) fn open_with(&mut self, role: Role, configure: impl FnOnce(&mut StoreConfig)) {
        let mut config = StoreConfig::new(self.dir.path().join("data"));
        configure(&mut config);
        let store = Store::open(config, role).unwrap();
        store.attach_mount(Arc::new(DirectMount::new(store.data_dir().clone())));
        self.store = Some(store);
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn db(&self) -> Arc<Database> {
        self.store().database(&name()).unwrap()
    }

    /// A clean stop.
    pub(crate) fn stop(&mut self) {
        self.store().leave_mount();
        self.store().close();
        self.store = None;
    }

    /// What is in `aside/`: the files, by the directory that they are in.
    pub(crate) fn aside(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let aside = self.dir.path().join("data/aside");
        for entry in std::fs::read_dir(aside).into_iter().flatten() {
            let dir = entry.unwrap().path();
            files.extend(
                std::fs::read_dir(dir)
                    .unwrap()
                    .map(|file| file.unwrap().path())
                    .filter(|path| path.is_file()),
            );
        }
        files
    }

    /// Clean stop and start.
    pub(crate) fn restart(&mut self, role: Role) {
        self.stop();
        self.open(role);
    }

    /// The process dies: nothing is saved. (The directory lock goes with the store.)
    pub(crate) fn crash(&mut self, role: Role) {
        let data = self.dir.path().join("data");
        let copy = self.dir.path().join("copy");
        copy_tree(&data, &copy);
        self.store().leave_mount();
        self.store().close();
        self.store = None;
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&copy, &data).unwrap();
        self.open(role);
    }

    pub(crate) fn backing(&self, kind: FileKind) -> PathBuf {
        self.store().data_dir().database(&name()).file(kind)
    }

    pub(crate) fn export(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.db()
            .snapshot()
            .unwrap()
            .write_database(&mut bytes)
            .unwrap();
        bytes
    }

    /// What a replica is sent that needs everything.
    pub(crate) fn snapshot(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.db().snapshot()?.write_ltx(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn import(&self, image: &[u8]) -> Result<Pos, Error> {
        let mut import = self.store().begin_import(&name())?;
        for chunk in image.chunks(10_000) {
            import.write(chunk)?;
        }
        import.commit()
    }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn name() -> DbName {
    DbName::new("app.db").unwrap()
}

/// A database file with `rows` rows.
pub(crate) fn image(journal_mode: &str, page_size: u32, rows: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "page_size", page_size)
        .unwrap();
    connection
        .pragma_update(None, "journal_mode", journal_mode)
        .unwrap();
    connection
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
        .unwrap();
    for id in 0..rows {
        connection
            .execute("INSERT INTO t VALUES (?1, randomblob(700))", [id])
            .unwrap();
    }
    drop(connection);
    std::fs::read(&path).unwrap()
}

/// Rows of a database file, after a check of its integrity.
pub(crate) fn rows(image: &[u8]) -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, image).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let integrity: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(integrity, "ok");
    connection
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

/// Sends what the replica lacks, as the stream does. Returns how many snapshots it took.
pub(crate) fn sync(primary: &Node, replica: &Node) -> u32 {
    let source = primary.db();
    let target = replica
        .store()
        .replica_database(&name(), source.incarnation())
        .unwrap();
    let mut snapshots = 0;
    loop {
        let mut incoming = target.incoming();
        match source.next_after(target.pos()) {
            NextLtx::UpToDate => return snapshots,
            NextLtx::File(file) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut file.open().unwrap(), &mut bytes).unwrap();
                incoming.write(&bytes).unwrap();
            }
            NextLtx::Snapshot(_) => {
                snapshots += 1;
                incoming.write(&primary.snapshot().unwrap()).unwrap();
            }
        }
        target.apply(incoming).unwrap();
    }
}

/// A primary and a replica that have the same database of 50 rows, after one transaction.
pub(crate) fn pair(journal_mode: &str) -> (Node, Node) {
    let (primary, replica) = (Node::start(PRIMARY()), Node::start(REPLICA()));
    primary.import(&image(journal_mode, 4096, 50)).unwrap();
    sync(&primary, &replica);
    (primary, replica)
}

pub(crate) fn assert_equal(primary: &Node, replica: &Node) {
    assert_eq!(primary.db().pos(), replica.db().pos());
    assert!(primary.export() == replica.export(), "the exports differ");
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
