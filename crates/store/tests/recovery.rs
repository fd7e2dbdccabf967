//! Starts on what a crash, or somebody else, left behind. The files are changed while no store runs.

mod nodes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ltx::TxId;
use nodes::{Node, PRIMARY, REPLICA, assert_equal, image, name, pair, rows, sync, until};
use store::testing::DirectMount;
use store::{FileKind, LtxFile, Mode, NextLtx, Role, Store, StoreConfig};

/// The backing file of the database, of a node that is stopped.
fn database(node: &Node) -> PathBuf {
    node.dir
        .path()
        .join("data/dbs")
        .join(name().as_str())
        .join(FileKind::Database.backing_name())
}

/// Names of the files in the log, of a node that is stopped.
fn log_files(node: &Node) -> Vec<String> {
    let dir = database(node).parent().unwrap().join("ltx");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// SQLite commits something while nobody looks, as it does after the daemon was killed.
fn commit_unseen(node: &Node) {
    let connection = rusqlite::Connection::open(database(node)).unwrap();
    connection
        .execute_batch(
            "UPDATE t SET v = randomblob(700) WHERE id = 3; INSERT INTO t VALUES (9999, 'unseen')",
        )
        .unwrap();
}

#[test]
fn content_of_an_earlier_position_is_brought_to_the_end_of_the_log() {
    for role in [PRIMARY, REPLICA] {
        let mut node = Node::start(PRIMARY());
        let first = image("delete", 4096, 50);
        node.import(&first).unwrap();
        node.import(&image("delete", 4096, 90)).unwrap();
        let pos = node.import(&image("delete", 4096, 70)).unwrap();
        let last = node.export();
        node.stop();
        std::fs::write(database(&node), &first).unwrap();
        node.open(role());
        assert_eq!(node.db().pos(), pos);
        assert!(node.export() == last, "the tail of the log is missing");
        assert!(node.aside().is_empty());
    }
}

#[test]
fn commits_that_nobody_captured_become_one_transaction_of_their_pages() {
    for journal_mode in ["delete", "wal"] {
        let (mut primary, replica) = pair(journal_mode);
        let before = primary.db().pos();
        primary.stop();
        commit_unseen(&primary);
        primary.open(PRIMARY());
        assert!(primary.db().pos().txid > before.txid);
        assert_eq!(sync(&primary, &replica), 0, "no snapshot is needed");
        assert_equal(&primary, &replica);
        assert_eq!(rows(&replica.export()), 51);
    }
}

#[test]
fn the_same_without_a_clean_stop_and_with_a_log_that_was_cut() {
    let (mut primary, replica) = pair("delete");
    primary.stop();
    primary.open_with(PRIMARY(), |config| {
        config.retention = Duration::from_millis(1);
        config.retention_interval = Duration::from_millis(5);
    });
    for rows in [60, 70, 80] {
        primary.import(&image("delete", 4096, rows)).unwrap();
        sync(&primary, &replica);
    }
    until("the log is cut", || primary.db().status().ltx_files == 1);
    primary.crash(Role::None);
    primary.stop();
    assert_eq!(log_files(&primary).len(), 1);
    commit_unseen(&primary);
    primary.open(PRIMARY());
    assert_eq!(sync(&primary, &replica), 0, "no snapshot is needed");
    assert_equal(&primary, &replica);
    assert_eq!(rows(&replica.export()), 81);
}

#[test]
fn what_only_a_former_primary_has_goes_aside() {
    for log_is_there in [true, false] {
        let (mut old, new) = pair("delete");
        old.stop();
        commit_unseen(&old);
        if !log_is_there {
            std::fs::remove_dir_all(database(&old).with_file_name("ltx")).unwrap();
        }
        old.open(REPLICA());
        let aside = old.aside();
        assert_eq!(aside.len(), 1, "{aside:?}");
        let mut file = std::fs::File::open(&aside[0]).unwrap();
        let (header, _) = ltx::read_ends(&mut file).unwrap();
        assert_eq!(header.pre_pos(), new.db().pos());
        // With its log it knows what the database was before.
        assert_eq!(old.db().is_readable(), log_is_there);
        assert_eq!(old.db().snapshot().is_ok(), log_is_there);
        assert_eq!(old.db().status().latched.is_none(), log_is_there);
        sync(&new, &old);
        assert!(old.db().is_readable());
        assert_eq!(old.db().status().latched, None);
        assert_equal(&new, &old);
        assert_eq!(rows(&old.export()), 50);
        // It is kept once.
        old.restart(REPLICA());
        assert_eq!(old.aside(), aside);
    }
}

#[test]
fn another_history_leaves_the_transactions_of_this_node_aside() {
    let (primary, replica) = pair("wal");
    let other = Node::start(PRIMARY());
    other.import(&image("wal", 4096, 10)).unwrap();
    other.import(&image("wal", 4096, 20)).unwrap();
    let snapshot = |replaces: bool| {
        let incarnation = replica.db().incarnation();
        let mut incoming = replica.store().incoming(&name(), incarnation);
        let bytes = other.snapshot().unwrap();
        incoming.write(&bytes).unwrap();
        if replaces {
            incoming.set_replaces_history(None);
        }
        replica
            .store()
            .take_in(&name(), incarnation, incoming)
            .unwrap();
    };
    let theirs = log_of(&replica);
    snapshot(true);
    let kept: Vec<Vec<u8>> = replica
        .aside()
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_eq!(kept, theirs);
    assert_equal(&other, &replica);
    // The log of others, cut somewhere: what is here is theirs, too.
    snapshot(false);
    assert_eq!(replica.aside().len(), 1);
    drop(primary);
}

fn log_of(node: &Node) -> Vec<Vec<u8>> {
    let dir = node.backing(FileKind::Database).with_file_name("ltx");
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn a_damaged_file_is_made_whole_from_the_log_and_kept_aside() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() - 4096),
        |bytes| bytes[..4096].fill(0x55),
        |bytes| bytes.clear(),
        |bytes| bytes[..100].fill(0),
    ];
    for role in [PRIMARY, REPLICA] {
        for damage in damages {
            let mut node = Node::start(PRIMARY());
            node.import(&image("delete", 4096, 50)).unwrap();
            let pos = node.import(&image("delete", 4096, 60)).unwrap();
            let good = node.export();
            node.stop();
            let mut bytes = good.clone();
            damage(&mut bytes);
            std::fs::write(database(&node), &bytes).unwrap();
            node.open(role());
            assert_eq!(node.db().pos(), pos);
            assert!(node.export() == good);
            let kept = node.aside();
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert!(std::fs::read(&kept[0]).unwrap() == bytes);
        }
    }
}

#[test]
fn a_damaged_file_that_the_log_cannot_help_is_left_alone() {
    let (mut primary, mut replica) = pair("delete");
    for node in [&mut primary, &mut replica] {
        node.stop();
        let ltx = database(node).with_file_name("ltx");
        std::fs::remove_dir_all(&ltx).unwrap();
        let mut bytes = std::fs::read(database(node)).unwrap();
        bytes[..4096].fill(0x55);
        std::fs::write(database(node), bytes).unwrap();
    }
    let before = std::fs::read(database(&primary)).unwrap();
    primary.open(PRIMARY());
    assert_eq!(primary.db().mode(), Mode::NotSqlite);
    assert!(primary.store().databases().is_empty());
    assert!(std::fs::read(database(&primary)).unwrap() == before);
    replica.open(REPLICA());
    assert!(!replica.db().is_readable());
    // The primary gets it back by an import; the replica follows.
    primary.store().unlink_database(&name()).unwrap();
    primary.import(&image("delete", 4096, 30)).unwrap();
    sync(&primary, &replica);
    assert_equal(&primary, &replica);
    assert_eq!(rows(&replica.export()), 30);
}

#[test]
fn a_file_of_another_incarnation_that_is_not_whole_replaces_nothing() {
    let (primary, replica) = pair("delete");
    primary.store().unlink_database(&name()).unwrap();
    primary.import(&image("delete", 4096, 30)).unwrap();
    let before = (replica.db().pos(), replica.export());
    let incarnation = primary.db().incarnation();
    let bytes = primary.snapshot().unwrap();
    let send = |bytes: &[u8]| {
        let mut incoming = replica.store().incoming(&name(), incarnation);
        incoming.write(bytes).unwrap();
        replica.store().take_in(&name(), incarnation, incoming)
    };
    let mut bad = bytes.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    assert!(send(&bad).is_err());
    assert!(send(&bytes[..middle]).is_err());
    assert!((replica.db().pos(), replica.export()) == before);
    assert!(replica.aside().is_empty());
    send(&bytes).unwrap();
    assert_equal(&primary, &replica);
    assert_eq!(primary.db().pos().txid, TxId::new(1));
}

/// CRCs are linear: the same bit in two pages does not change the XOR of their checksums.
#[test]
fn a_change_that_leaves_the_checksum_as_it_was_is_seen() {
    for role in [PRIMARY, REPLICA] {
        let (mut node, replica) = pair("delete");
        let (before, content) = (node.db().pos(), node.export());
        node.stop();
        let mut bytes = content.clone();
        for pgno in [5, 9] {
            bytes[(pgno - 1) * 4096 + 2000] ^= 1;
        }
        std::fs::write(database(&node), &bytes).unwrap();
        node.open(role());
        if node.store().role().is_primary() {
            let pos = node.db().pos();
            assert_eq!(
                (pos.txid, pos.checksum),
                (before.txid.next(), before.checksum)
            );
            assert!(node.export() == bytes);
            assert_eq!(sync(&node, &replica), 0);
            assert!(replica.export() == bytes);
        } else {
            assert_eq!(node.db().pos(), before);
            assert!(node.export() == content);
            assert_eq!(node.aside().len(), 1, "it was the primary before");
        }
    }
}

/// After a crash of the machine the newest files of the log are gone, and the content may be that of any moment. The
/// replica has the files.
#[test]
fn what_the_log_lost_comes_from_a_replica_whatever_the_content_is() {
    for kept in 0..3 {
        let (mut primary, replica) = pair("delete");
        let mut contents = vec![primary.export()];
        for rows in [60, 70] {
            primary.import(&image("delete", 4096, rows)).unwrap();
            sync(&primary, &replica);
            contents.push(primary.export());
        }
        primary
            .store()
            .note_replica(replica.store().node_id())
            .unwrap();
        primary.crash(Role::None);
        primary.stop();
        let files = log_files(&primary);
        let ltx = database(&primary).with_file_name("ltx");
        for lost in &files[1..] {
            std::fs::remove_file(ltx.join(lost)).unwrap();
        }
        std::fs::write(database(&primary), &contents[kept]).unwrap();
        std::fs::write(primary.dir.path().join("data/boot"), "another\n").unwrap();

        let config = StoreConfig::new(primary.dir.path().join("data"));
        let store = Store::open(config, PRIMARY()).unwrap();
        assert!(store.is_after_machine_crash());
        let db = store.database(&name()).unwrap();
        while let NextLtx::File(file) = replica.db().next_after(db.pos()) {
            let mut incoming = db.incoming();
            incoming
                .write(&std::fs::read(ltx_of(&replica, &file)).unwrap())
                .unwrap();
            db.take_tail(incoming).unwrap();
        }
        assert_eq!(db.settle_tail().unwrap(), replica.db().pos());
        store.attach_mount(Arc::new(DirectMount::new(store.data_dir().clone())));
        primary.store = Some(store);
        assert_equal(&primary, &replica);
        assert!(primary.export() == contents[2], "kept {kept}");
    }
}

/// Where a file of a node's log is.
fn ltx_of(node: &Node, file: &LtxFile) -> PathBuf {
    let name = ltx::file_name(file.min_txid, file.max_txid);
    database(node).with_file_name("ltx").join(name)
}
