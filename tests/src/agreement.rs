//! The end of most tests: the nodes have the same database, and it is a good one.

use std::fs;
use std::time::Duration;

use crate::checksum::database_checksum;
use crate::cluster::Cluster;
use crate::export::{digest, integrity};
use crate::node::Node;
use crate::pos::Pos;
use crate::until::{until, within};

/// From the last commit to the last replica that has it.
const CAUGHT_UP: Duration = Duration::from_secs(30);
/// A database that was latched shows that this is over a moment after its position.
const UNLATCHED: Duration = Duration::from_secs(5);

/// Waits until `node` is at the position of `primary`, and returns it.
#[track_caller]
pub fn await_same_position(primary: &Node, node: &Node, database: &str) -> Pos {
    let mut seen = None;
    let found = within(CAUGHT_UP, || {
        let (here, there) = (primary.read_pos(database), node.read_pos(database));
        let same = here
            .as_ref()
            .ok()
            .filter(|here| there.as_ref().is_ok_and(|there| there == *here))
            .copied();
        seen = Some((here, there));
        same
    });
    found.unwrap_or_else(|| {
        primary.print_waits();
        node.print_waits();
        panic!(
            "{database}: primary and {} stay at {seen:?}",
            node.mount().display()
        )
    })
}

/// Waits for the same position everywhere, then checks that the exports of all nodes are the same bytes, that they are
/// those of the position's checksum, that they are a good database, and that they have the content that the primary's
/// applications see. Returns the position.
#[track_caller]
pub fn assert_agreement(cluster: &Cluster, database: &str) -> Pos {
    let mut last = None;
    for replica in &cluster.replicas {
        last = Some(await_same_position(&cluster.primary, replica, database));
    }
    let export = exported(&cluster.primary, database);
    if let Some(pos) = last {
        let checksum = database_checksum(&export);
        assert_eq!(
            checksum, pos.checksum,
            "the export does not have the checksum of the position, {checksum:016x} instead of {pos}"
        );
    }
    let copy = cluster.stage.directory().join(format!("export-{database}"));
    fs::write(&copy, &export).expect("the directory of a stage is ours");
    assert_eq!(integrity(&copy), "ok", "export of the primary");
    let expected = digest(&cluster.primary.database(database));
    assert_eq!(
        digest(&copy),
        expected,
        "the export of the primary has another content than its mount"
    );
    for replica in &cluster.replicas {
        assert_same_bytes(&exported(replica, database), &export);
        assert_eq!(
            digest(&replica.database(database)),
            expected,
            "a replica's mount has another content"
        );
        assert_eq!(
            integrity(&replica.database(database)),
            "ok",
            "mount of a replica"
        );
    }
    for node in cluster.replicas.iter().chain([&cluster.primary]) {
        assert_replicates(node, database);
    }
    last.or_else(|| cluster.primary.pos(database))
        .expect("the primary has the database")
}

/// The node does not say that anything keeps the database from replicating.
#[track_caller]
fn assert_replicates(node: &Node, database: &str) {
    let what = format!("{database} replicates on {}", node.mount().display());
    until(UNLATCHED, &what, || {
        let shown = node.api().database(database);
        shown.is_some_and(|shown| shown.error.is_none())
    });
}

#[track_caller]
fn exported(node: &Node, database: &str) -> Vec<u8> {
    node.api()
        .export(database)
        .unwrap_or_else(|refusal| panic!("export of {database}: {refusal:?}"))
}

/// As `assert_eq!`, without megabytes in the message.
#[track_caller]
fn assert_same_bytes(left: &[u8], right: &[u8]) {
    assert_eq!(left.len(), right.len(), "the exports differ in length");
    let difference = left.iter().zip(right).position(|(a, b)| a != b);
    assert_eq!(difference, None, "the exports differ at this offset");
}
