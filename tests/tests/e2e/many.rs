//! Many databases at once: independent of one another.

use std::time::Duration;

use harness::client::{Access, Session, Workload};
use harness::ledger::JournalMode;
use harness::{Cluster, assert_agreement, await_same_position, until};

const LIMIT: Duration = Duration::from_secs(150);
/// How long a reader may sit on one database before anybody else should notice: the test waits this long for them.
const OTHERS: Duration = Duration::from_secs(10);

#[test]
fn twenty_databases_with_writers_at_once() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let names: Vec<String> = (0..20).map(|number| format!("db{number:02}")).collect();
    let running: Vec<_> = names
        .iter()
        .zip(JournalMode::ALL.into_iter().cycle())
        .zip(1..)
        .map(|((name, mode), seed)| {
            let workload = Workload::new(mode, 4096, seed).transactions(20);
            workload.start(cluster.stage.tag(), &cluster.primary.database(name))
        })
        .collect();
    running
        .into_iter()
        .for_each(|workload| drop(workload.succeed()));
    for name in &names {
        assert_agreement(&cluster, name);
    }
    cluster.stop();
}

#[test]
fn a_reader_that_blocks_one_database_delays_no_other() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag();
    let names = ["stuck", "delete", "persist", "wal"];
    let modes = [
        JournalMode::Delete,
        JournalMode::Delete,
        JournalMode::Persist,
        JournalMode::Wal,
    ];
    let workloads: Vec<_> = modes
        .iter()
        .map(|mode| Workload::new(*mode, 4096, 81).transactions(20))
        .collect();
    for (name, workload) in names.iter().zip(&workloads) {
        workload.run(tag, &cluster.primary.database(name));
        await_same_position(&cluster.primary, cluster.replica(), name);
    }
    let mut reader = Session::open(tag, &cluster.replica().database("stuck"), Access::ReadWrite);
    let held = reader.value("BEGIN; SELECT value FROM tick WHERE id = 1");

    for (name, workload) in names.iter().zip(&workloads) {
        workload
            .clone()
            .more(82)
            .run(tag, &cluster.primary.database(name));
    }
    for name in &names[1..] {
        until(OTHERS, name, || {
            cluster.replica().pos(name) == cluster.primary.pos(name)
        });
        assert_agreement(&cluster, name);
    }
    assert_eq!(
        reader.value("SELECT value FROM tick WHERE id = 64"),
        held,
        "its snapshot is as it was"
    );
    assert_eq!(cluster.replica().api().export("delete").map(drop), Ok(()));
    reader.rows("COMMIT");
    assert_agreement(&cluster, "stuck");
    assert_ne!(
        reader.value("SELECT value FROM tick WHERE id = 64"),
        held,
        "then it sees the present"
    );
}
