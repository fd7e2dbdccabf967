//! Two stores without FUSE and network: what one has is applied to the other. Database files are made by SQLite.

mod nodes;

use ltx::TxId;
use nodes::{Node, PRIMARY, REPLICA, assert_equal, image, name, pair, rows, sync};
use store::{Error, ErrorKind, FileKind, NextLtx, SnapshotReason, Store, StoreConfig};

#[test]
fn an_import_arrives_byte_for_byte_in_each_mode_and_page_size() {
    for (journal_mode, page_size) in [
        ("delete", 4096),
        ("wal", 4096),
        ("wal", 512),
        ("delete", 65536),
    ] {
        let (primary, replica) = (Node::start(PRIMARY()), Node::start(REPLICA()));
        let file = image(journal_mode, page_size, 300);
        assert_eq!(primary.import(&file).unwrap().txid, TxId::new(1));
        assert!(primary.export() == file, "{journal_mode} {page_size}");
        assert_eq!(
            sync(&primary, &replica),
            0,
            "the log still begins at TXID 1"
        );
        assert_equal(&primary, &replica);
        assert_eq!(rows(&replica.export()), 300);
    }
}

#[test]
fn a_second_import_replaces_the_content_as_one_transaction() {
    for journal_mode in ["delete", "wal"] {
        let (primary, replica) = pair(journal_mode);
        let pos = primary.import(&image(journal_mode, 4096, 400)).unwrap();
        assert_eq!(pos.txid, TxId::new(2));
        assert_eq!(sync(&primary, &replica), 0);
        assert_equal(&primary, &replica);
        assert_eq!(rows(&replica.export()), 400);
        // And back: the database shrinks.
        primary.import(&image(journal_mode, 4096, 3)).unwrap();
        sync(&primary, &replica);
        assert_equal(&primary, &replica);
        assert_eq!(rows(&replica.export()), 3);
    }
}

#[test]
fn an_import_with_another_page_size_replaces_the_database() {
    for journal_mode in ["delete", "wal"] {
        let (primary, replica) = pair(journal_mode);
        primary.import(&image(journal_mode, 1024, 60)).unwrap();
        sync(&primary, &replica);
        assert_equal(&primary, &replica);
        assert_eq!(rows(&replica.export()), 60);
        assert_eq!(primary.db().status().page_size, Some(1024));
    }
}

#[test]
fn what_is_not_a_database_is_refused_and_changes_nothing() {
    let primary = Node::start(PRIMARY());
    let good = image("delete", 4096, 20);
    let pos = primary.import(&good).unwrap();
    let mut bad_page_size = good.clone();
    bad_page_size[16..18].copy_from_slice(&1000u16.to_be_bytes());
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "0 bytes long"),
        (
            "text",
            b"hello, this is not a database but a text of some length",
            "magic",
        ),
        ("short", &good[..60], "60 bytes long"),
        ("page size", &bad_page_size, "page size"),
        ("cut off", &good[..good.len() - 4096], "were received"),
    ];
    for (what, bytes, expected) in cases {
        let error = primary.import(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{what}: {error}");
        assert!(
            error.chain().contains(expected),
            "{what}: {}",
            error.chain()
        );
    }
    assert_eq!(primary.db().pos(), pos);
    assert!(primary.export() == good);
    let replica = Node::start(REPLICA());
    assert_eq!(
        replica.import(&good).unwrap_err().kind(),
        ErrorKind::NotPrimary
    );
    assert_eq!(replica.store().databases().len(), 0);
}

#[test]
fn a_clean_restart_keeps_the_position_without_a_new_transaction() {
    for journal_mode in ["delete", "wal"] {
        let (mut primary, mut replica) = pair(journal_mode);
        let pos = primary.import(&image(journal_mode, 4096, 80)).unwrap();
        sync(&primary, &replica);
        primary.restart(PRIMARY());
        replica.restart(REPLICA());
        assert_eq!((primary.db().pos(), replica.db().pos()), (pos, pos));
        primary.import(&image(journal_mode, 4096, 90)).unwrap();
        assert_eq!(sync(&primary, &replica), 0);
        assert_equal(&primary, &replica);
    }
}

#[test]
fn a_crash_keeps_the_position_too() {
    for journal_mode in ["delete", "wal"] {
        let (mut primary, mut replica) = pair(journal_mode);
        let pos = primary.import(&image(journal_mode, 4096, 80)).unwrap();
        sync(&primary, &replica);
        primary.crash(PRIMARY());
        replica.crash(REPLICA());
        assert_eq!((primary.db().pos(), replica.db().pos()), (pos, pos));
        assert_equal(&primary, &replica);
    }
}

#[test]
fn content_that_is_not_that_of_the_log_wins_on_the_primary_and_loses_on_a_replica() {
    let (mut primary, mut replica) = (Node::start(PRIMARY()), Node::start(REPLICA()));
    let older = image("delete", 4096, 50);
    primary.import(&older).unwrap();
    sync(&primary, &replica);
    let newer = image("delete", 4096, 70);
    for node in [&mut primary, &mut replica] {
        node.store().leave_mount();
        node.store().close();
        let database = node.backing(FileKind::Database);
        node.store = None;
        std::fs::write(database, &newer).unwrap();
    }
    primary.open(PRIMARY());
    replica.open(REPLICA());
    assert_eq!(primary.db().pos().txid, TxId::new(2));
    assert!(primary.export() == newer);
    assert_eq!(replica.db().pos().txid, TxId::new(1));
    assert!(
        replica.export() == older,
        "a replica repairs itself from its log"
    );
    sync(&primary, &replica);
    assert_equal(&primary, &replica);
}

#[test]
fn a_transaction_that_was_stored_and_not_applied_is_applied_at_the_start() {
    let (primary, mut replica) = pair("delete");
    let before = std::fs::read(replica.backing(FileKind::Database)).unwrap();
    primary.import(&image("delete", 4096, 300)).unwrap();
    sync(&primary, &replica);
    let after = replica.db().pos();
    // As if the process had died between the two, or in the middle of the second.
    let torn = {
        let now = std::fs::read(replica.backing(FileKind::Database)).unwrap();
        let mut torn = before.clone();
        torn[4096..8192].copy_from_slice(&now[4096..8192]);
        torn
    };
    for content in [before, torn] {
        replica.store().leave_mount();
        replica.store().close();
        let database = replica.backing(FileKind::Database);
        replica.store = None;
        std::fs::write(database, content).unwrap();
        replica.open(REPLICA());
        assert_eq!(replica.db().pos(), after);
        assert_equal(&primary, &replica);
    }
}

#[test]
fn what_does_not_follow_or_is_damaged_is_refused_and_changes_nothing() {
    let (primary, replica) = pair("wal");
    primary.import(&image("wal", 4096, 60)).unwrap();
    primary.import(&image("wal", 4096, 70)).unwrap();
    let before = (replica.db().pos(), replica.export());
    let NextLtx::File(second) = primary.db().next_after(before.0) else {
        panic!("a file follows")
    };
    let NextLtx::File(third) = primary.db().next_after(second.post_pos()) else {
        panic!("a file follows")
    };
    let read = |file: &store::LtxFile| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file.open().unwrap(), &mut bytes).unwrap();
        bytes
    };
    let apply = |bytes: &[u8]| {
        let mut incoming = replica.db().incoming();
        incoming.write(bytes).unwrap();
        replica.db().apply(incoming)
    };
    assert!(matches!(
        apply(&read(&third)),
        Err(Error::PositionMismatch { .. })
    ));
    let mut damaged = read(&second);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    assert!(matches!(apply(&damaged), Err(Error::Ltx { .. })));
    let whole = read(&second);
    assert!(matches!(
        apply(&whole[..whole.len() - 1]),
        Err(Error::Ltx { .. })
    ));
    assert!(matches!(apply(b""), Err(Error::Ltx { .. })));
    assert_eq!(replica.db().pos(), before.0);
    assert!(replica.export() == before.1);
    assert_eq!(apply(&whole).unwrap(), second.post_pos());
}

#[test]
fn another_history_is_answered_with_a_snapshot() {
    let (primary, replica, other) = (
        Node::start(PRIMARY()),
        Node::start(REPLICA()),
        Node::start(PRIMARY()),
    );
    other.import(&image("wal", 4096, 10)).unwrap();
    other.import(&image("wal", 4096, 20)).unwrap();
    sync(&other, &replica);
    primary.import(&image("wal", 4096, 30)).unwrap();
    primary.import(&image("wal", 4096, 40)).unwrap();
    // The same incarnation, as after a fork: the position alone tells.
    let incarnation = replica.db().incarnation();
    let fork = primary.db().next_after(replica.db().pos());
    assert!(
        matches!(fork, NextLtx::Snapshot(SnapshotReason::Diverged)),
        "{fork:?}"
    );
    let bytes = primary.snapshot().unwrap();
    let target = replica
        .store()
        .replica_database(&name(), incarnation)
        .unwrap();
    let mut incoming = target.incoming();
    incoming.write(&bytes).unwrap();
    target.apply(incoming).unwrap();
    assert_equal(&primary, &replica);
    assert_eq!(rows(&replica.export()), 40);
}

#[test]
fn a_deleted_database_goes_aside_and_a_new_one_is_another_incarnation() {
    let (primary, replica) = (Node::start(PRIMARY()), Node::start(REPLICA()));
    primary.import(&image("wal", 4096, 10)).unwrap();
    sync(&primary, &replica);
    let first = primary.db().incarnation();
    primary.store().unlink_database(&name()).unwrap();
    assert!(primary.store().database(&name()).is_none());
    primary.import(&image("delete", 1024, 20)).unwrap();
    assert_ne!(primary.db().incarnation(), first);
    sync(&primary, &replica);
    assert_equal(&primary, &replica);
    assert_eq!(rows(&replica.export()), 20);
    for node in [&primary, &replica] {
        let aside: Vec<_> = std::fs::read_dir(node.store().data_dir().aside())
            .unwrap()
            .collect();
        assert_eq!(aside.len(), 1);
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused_with_the_reason() {
    let node = Node::start(PRIMARY());
    let again = Store::open(StoreConfig::new(node.dir.path().join("data")), PRIMARY())
        .err()
        .unwrap();
    assert!(
        again
            .to_string()
            .contains("in use by another litefs process"),
        "{again}"
    );
    let file = node.dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let not_a_directory = Store::open(StoreConfig::new(&file), PRIMARY())
        .err()
        .unwrap();
    assert!(
        not_a_directory.to_string().contains("is not a directory"),
        "{not_a_directory}"
    );
}
