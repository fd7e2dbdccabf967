//! What was put aside: seen, and made a database again.

mod nodes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nodes::{Node, PRIMARY, REPLICA, image, name, pair, rows, sync};
use rusqlite::Connection;
use store::aside::{Base, Entry, Exported, contents, export, list};
use store::{DataDir, FileKind};

fn data(node: &Node) -> DataDir {
    DataDir::new(node.dir.path().join("data"))
}

/// All files below a directory, with their bytes.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Exports the only entry; `aside/` must be as it was, and nothing may be left beside the target.
fn export_only(data: &DataDir) -> (Exported, Option<Vec<u8>>, tempfile::TempDir) {
    let entries = list(data).unwrap();
    let [entry] = &entries[..] else {
        panic!("{entries:?}")
    };
    export_one(data, entry)
}

fn export_one(data: &DataDir, entry: &Entry) -> (Exported, Option<Vec<u8>>, tempfile::TempDir) {
    let before = tree(&data.aside());
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("out");
    let exported = export(data, entry, &target).unwrap();
    assert!(tree(&data.aside()) == before, "what is aside was changed");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    let bytes = target.is_file().then(|| fs::read(&target).unwrap());
    (exported, bytes, out)
}

/// A node that was the primary and committed 30 rows that were never captured.
fn former_primary(journal_mode: &str) -> (Node, Node) {
    let (mut old, new) = pair(journal_mode);
    old.stop();
    let database = data(&old).database(&name()).file(FileKind::Database);
    let connection = Connection::open(&database).unwrap();
    for id in 100..130 {
        connection
            .execute("INSERT INTO t VALUES (?1, randomblob(700))", [id])
            .unwrap();
    }
    connection.close().unwrap();
    old.open(REPLICA());
    (old, new)
}

fn base_of(exported: &Exported) -> Base {
    match exported {
        Exported::Database { base, .. } => *base,
        Exported::Files { reason, .. } => panic!("{reason}"),
    }
}

#[test]
fn lost_commits_come_back_on_top_of_the_log() {
    for mode in ["delete", "wal"] {
        let (old, mut new) = former_primary(mode);
        let data = data(&old);
        let entries = list(&data).unwrap();
        let [entry] = &entries[..] else {
            panic!("{entries:?}")
        };
        assert!(entry.is_unreplicated());
        assert_eq!(entry.database, Some(name()));
        let [ltx] = &contents(entry)[..] else {
            panic!()
        };
        let details = ltx.details.as_ref().unwrap();
        assert_eq!(details.pre_pos, new.db().pos());
        assert!(!details.is_snapshot && details.pages.len() < 10);
        assert_eq!(details.page_size.get(), 4096);
        // While the node runs, and after it went on.
        let (exported, bytes, _out) = export_only(&data);
        assert_eq!(base_of(&exported), Base::Log);
        assert_eq!(rows(&bytes.unwrap()), 80);
        new.restart(PRIMARY());
        new.import(&image(mode, 4096, 60)).unwrap();
        sync(&new, &old);
        let (exported, bytes, _out) = export_only(&data);
        let pos = Some(details.post_pos);
        assert_eq!(
            exported,
            Exported::Database {
                base: Base::Log,
                pos
            }
        );
        assert_eq!(rows(&bytes.unwrap()), 80);
        assert_eq!(rows(&old.export()), 60);
    }
}

#[test]
fn without_the_log_the_present_database_will_do_if_it_can() {
    let (mut old, new) = former_primary("wal");
    sync(&new, &old);
    let data = data(&old);
    fs::remove_dir_all(data.database(&name()).path().join("ltx")).unwrap();
    let (exported, bytes, _out) = export_only(&data);
    assert_eq!(base_of(&exported), Base::Present);
    assert_eq!(rows(&bytes.unwrap()), 80);

    // It has changed where the lost transactions did not write.
    old.stop();
    let connection = Connection::open(data.database(&name()).file(FileKind::Database)).unwrap();
    connection
        .execute("UPDATE t SET v = randomblob(700) WHERE id = 1", [])
        .unwrap();
    connection.close().unwrap();
    let (exported, bytes, out) = export_only(&data);
    let Exported::Files { reason, count: 1 } = &exported else {
        panic!("{exported:?}")
    };
    assert!(reason.contains("not to be had any more"), "{reason}");
    assert!(bytes.is_none());
    let copied: Vec<Vec<u8>> = tree(&out.path().join("out")).into_values().collect();
    let kept: Vec<Vec<u8>> = tree(&data.aside()).into_values().collect();
    assert_eq!(copied, kept);
}

#[test]
fn another_history_comes_back_by_itself() {
    let (_primary, replica) = pair("wal");
    let other = Node::start(PRIMARY());
    other.import(&image("wal", 4096, 10)).unwrap();
    other.import(&image("wal", 4096, 20)).unwrap();
    let incarnation = replica.db().incarnation();
    let mut incoming = replica.store().incoming(&name(), incarnation);
    incoming.write(&other.snapshot().unwrap()).unwrap();
    incoming.set_replaces_history(None);
    replica
        .store()
        .take_in(&name(), incarnation, incoming)
        .unwrap();
    let (exported, bytes, _out) = export_only(&data(&replica));
    assert_eq!(base_of(&exported), Base::Own);
    assert_eq!(rows(&bytes.unwrap()), 50);
}

#[test]
fn a_deleted_database_comes_back() {
    let (primary, _replica) = pair("wal");
    let expected = primary.export();
    primary.store().unlink_database(&name()).unwrap();
    let (exported, bytes, _out) = export_only(&data(&primary));
    assert_eq!(base_of(&exported), Base::Copy);
    assert!(bytes.unwrap() == expected);
}

/// A directory in `aside/` with copies of what a connection has on disk at the moment.
fn put_copy_aside(data: &DataDir, database: &Path, names: &[(&str, &str)]) {
    let dir = data.aside().join("app.db-dropped-1700000000000-0/dir");
    fs::create_dir_all(&dir).unwrap();
    for (suffix, name) in names {
        let mut source = database.as_os_str().to_owned();
        source.push(suffix);
        fs::copy(source, dir.join(name)).unwrap();
    }
}

#[test]
fn a_log_and_a_hot_journal_are_played_back() {
    for mode in ["wal", "delete"] {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().join("data"));
        let database = dir.path().join("x");
        fs::write(&database, image(mode, 4096, 50)).unwrap();
        let connection = Connection::open(&database).unwrap();
        connection
            .execute_batch(
                "PRAGMA cache_size = 2; BEGIN; UPDATE t SET v = randomblob(700); DELETE FROM t WHERE id > 9",
            )
            .unwrap();
        let companion = if mode == "wal" {
            connection.execute_batch("COMMIT").unwrap();
            ("-wal", "wal")
        } else {
            // The cache is too small: much of it is in the file already.
            ("-journal", "journal")
        };
        put_copy_aside(&data, &database, &[("", "database"), companion]);
        let (exported, bytes, _out) = export_only(&data);
        assert_eq!(base_of(&exported), Base::Copy);
        let expected = if mode == "wal" { 10 } else { 50 };
        assert_eq!(rows(&bytes.unwrap()), expected, "{mode}");
    }
}

#[test]
fn what_is_no_database_is_copied_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::new(dir.path());
    let put = |path: &str, bytes: &[u8]| {
        let path = data.aside().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let whole = image("delete", 4096, 5);
    put("app.db-orphaned-1-0/wal", b"frames");
    put("app.db-broken-2-0/database", &whole);
    put("app.db-broken-3-0/database", &whole[..whole.len() - 4096]);
    put(
        "app.db-unreplicated-4-0/0000000000000002-0000000000000002.ltx",
        b"rubbish",
    );
    let entries = list(&data).unwrap();
    let exported: Vec<Exported> = entries
        .iter()
        .map(|entry| export_one(&data, entry).0)
        .collect();
    let reasons: Vec<&str> = exported
        .iter()
        .map(|exported| match exported {
            Exported::Files { reason, .. } => reason.as_str(),
            Exported::Database { .. } => "",
        })
        .collect();
    assert_eq!(reasons[0], "there is no copy of the database in it");
    assert_eq!(base_of(&exported[1]), Base::Damaged);
    assert!(
        reasons[2].contains("shorter than its header says"),
        "{reasons:?}"
    );
    assert_eq!(reasons[3], "none of its LTX files can be read");
    assert!(contents(&entries[3])[0].details.is_err());
}

#[test]
fn a_target_that_exists_is_left_alone() {
    let (old, _new) = former_primary("delete");
    let data = data(&old);
    let entry = &list(&data).unwrap()[0];
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("out");
    fs::write(&target, "mine").unwrap();
    let error = export(&data, entry, &target).unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

/// Retention may take an entry while it is looked at.
#[test]
fn an_entry_that_vanishes_is_an_error_and_leaves_nothing() {
    let (old, _new) = former_primary("delete");
    let data = data(&old);
    let entry = list(&data).unwrap().remove(0);
    fs::remove_dir_all(&entry.path).unwrap();
    assert!(contents(&entry).is_empty());
    let out = tempfile::tempdir().unwrap();
    assert!(export(&data, &entry, &out.path().join("out")).is_err());
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}
