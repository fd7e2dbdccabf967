//! Deleting a database, and making another of the same name.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{Cluster, Node, assert_agreement, await_same_position, until};

const LIMIT: Duration = Duration::from_secs(90);
const ARRIVED: Duration = Duration::from_secs(20);

/// As an application deletes a database: the companions go too, those that are there.
fn delete(node: &Node, name: &str) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(node.database(&format!("{name}{suffix}"))) {
            Ok(()) => {}
            Err(error) => assert!(
                !suffix.is_empty() && error.kind() == std::io::ErrorKind::NotFound,
                "{suffix}: {error}"
            ),
        }
    }
}

/// What a mount lists that begins with `name`.
fn listed(node: &Node, name: &str) -> Vec<String> {
    let entries = fs::read_dir(node.mount()).expect("the mount can be listed");
    let names = entries.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|entry| entry.starts_with(name)).collect()
}

fn is_gone(node: &Node, name: &str) -> bool {
    listed(node, name).is_empty()
        && node.pos(name).is_none()
        && !node.database(name).exists()
        && node
            .api()
            .export(name)
            .is_err_and(|refusal| refusal.status == 404)
        && node.api().database(name).is_none()
}

fn replicates(mode: JournalMode, other: JournalMode) {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let database = cluster.primary.database("app");
    Workload::new(mode, 4096, 71)
        .transactions(30)
        .run(&tag, &database);
    Workload::new(mode, 4096, 72)
        .transactions(30)
        .run(&tag, &cluster.primary.database("other"));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    let mut old = Session::open(&tag, &cluster.replica().database("app"), Access::ReadWrite);
    let rows = old.value("SELECT count(*) FROM tick");

    delete(&cluster.primary, "app");
    until(ARRIVED, "the database is gone on the primary", || {
        is_gone(&cluster.primary, "app")
    });
    until(ARRIVED, "the database is gone on the replica", || {
        is_gone(cluster.replica(), "app")
    });
    assert_eq!(
        listed(cluster.replica(), "other")[..2],
        ["other", "other-pos"],
        "the other one stays"
    );

    // Of the same name, of another kind. Whoever holds the old one open sees that, or an error, never a mixture.
    Workload::new(other, 1024, 73)
        .transactions(30)
        .run(&tag, &database);
    assert_agreement(&cluster, "app");
    if let Ok(answer) = old.run("SELECT count(*) FROM tick") {
        assert_eq!(answer, [[rows]], "an old connection sees the old database");
    }
    drop(old);
    assert_agreement(&cluster, "app");
    assert_agreement(&cluster, "other");
    cluster.stop();
}

#[test]
fn replicates_in_delete_mode() {
    replicates(JournalMode::Delete, JournalMode::Wal);
}

#[test]
fn replicates_in_wal_mode() {
    replicates(JournalMode::Wal, JournalMode::Delete);
}

#[test]
fn is_not_undone_by_a_restart() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    Workload::new(JournalMode::Wal, 4096, 74)
        .transactions(20)
        .run(&tag, &cluster.primary.database("app"));
    await_same_position(&cluster.primary, cluster.replica(), "app");
    // The replica is away when it happens.
    cluster.replica_mut().stop();
    delete(&cluster.primary, "app");
    until(ARRIVED, "the database is gone on the primary", || {
        is_gone(&cluster.primary, "app")
    });
    cluster.primary.stop();
    cluster.primary.start();
    assert!(
        is_gone(&cluster.primary, "app"),
        "it is back on the primary"
    );
    cluster.replica_mut().start();
    until(ARRIVED, "the database is gone on the replica", || {
        is_gone(cluster.replica(), "app")
    });
    cluster.stop();
}
