//! One file operation of a node fails, whichever: an error or nothing for the application, nothing lost, and everything
//! goes on without a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::faultfs::{Fault, FaultFs, Kind};
use harness::{Cluster, Node, Stage, assert_agreement, await_same_position, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LIMIT: Duration = Duration::from_secs(3600);
const RECOVERED: Duration = Duration::from_secs(40);
/// How many operations of each script fail by default; `LITEFS_FAULTS=all`: every one.
const FEW: usize = 4;
const FAULTS: &str = "LITEFS_FAULTS";
/// Operations of the short script, at most. Those beyond its end fail for nobody.
const OPERATIONS: u64 = 200;
/// SQLite's result codes for what a bad disk may look like: busy, READONLY, IOERR, FULL, CANTOPEN.
const EXPECTED: [i32; 5] = [5, 8, 10, 13, 14];

/// A pair, one of them on a disk that can fail.
struct Pair {
    cluster: Cluster,
    disk: FaultFs,
}

impl Pair {
    fn new(on_primary: bool) -> Option<Pair> {
        let stage = Stage::with_mounts(LIMIT)?;
        let mut primary = Node::primary(&stage, "primary");
        let mut replica = Node::replica(&stage, "replica1", &primary);
        let node = if on_primary { &primary } else { &replica };
        let disk = FaultFs::mount(&stage, &node.settings().data);
        primary.start();
        replica.start();
        let replicas = vec![replica];
        let cluster = Cluster {
            primary,
            replicas,
            stage,
        };
        Some(Pair { cluster, disk })
    }

    fn session(&self) -> Session {
        let database = self.cluster.primary.database("app");
        let mut session = Session::open(self.cluster.stage.tag(), &database, Access::Create);
        session.rows("PRAGMA busy_timeout = 500");
        session
    }

    fn create(&self, mode: &str) {
        let mut session = self.session();
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER PRIMARY KEY, x)"
        ));
        session.close();
        await_same_position(&self.cluster.primary, self.cluster.replica(), "app");
    }

    /// Whether `node` says that the database does not replicate.
    fn is_latched(node: &Node) -> bool {
        let shown = node.api().database("app");
        shown.is_some_and(|database| database.error.is_some())
    }

    /// Both nodes are there and well, and have the same.
    fn assert_recovered(&mut self) {
        self.cluster.primary.assert_running();
        self.cluster.replica_mut().assert_running();
        for node in [&self.cluster.primary, self.cluster.replica()] {
            until(RECOVERED, "the database replicates again", || {
                !Pair::is_latched(node)
            });
        }
        assert_agreement(&self.cluster, "app");
    }

    /// The disk is good again, after something had failed: writes succeed, nothing is lost, and all is well.
    fn heal_and_finish(mut self, mut session: Session, mut written: Written) {
        self.heal(&mut session, &mut written);
        written.assert_kept(&mut session);
        session.close();
        self.assert_recovered();
        self.cluster.stop();
    }

    fn heal(&mut self, session: &mut Session, written: &mut Written) {
        let (_, hits) = self.disk.disarm();
        assert!(!hits.is_empty());
        until(RECOVERED, "writes succeed", || written.insert(session));
    }
}

/// What was written, and what SQLite said.
#[derive(Default)]
struct Written {
    acknowledged: BTreeSet<u64>,
    failed: BTreeSet<u64>,
    next: u64,
}

impl Written {
    fn insert(&mut self, session: &mut Session) -> bool {
        self.next += 1;
        let sql = format!("INSERT INTO t VALUES ({}, zeroblob(5000))", self.next);
        let done = attempt(session, &sql);
        let set = if done {
            &mut self.acknowledged
        } else {
            &mut self.failed
        };
        set.insert(self.next);
        done
    }

    /// What was acknowledged is there; of the rest nothing but what the application was told may be.
    fn assert_kept(&self, session: &mut Session) {
        let rows = session.rows("SELECT n FROM t ORDER BY n");
        let there: BTreeSet<u64> = rows
            .iter()
            .map(|row| row[0].parse().expect("a number"))
            .collect();
        let lost: Vec<_> = self.acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let more: Vec<_> = there.difference(&self.acknowledged).collect();
        assert!(more.iter().all(|n| self.failed.contains(n)), "{more:?}");
    }
}

/// Whether it succeeded; it may fail as on a bad disk.
fn attempt(session: &mut Session, sql: &str) -> bool {
    match session.run(sql) {
        Ok(_) => true,
        Err(error) => {
            assert!(EXPECTED.contains(&error.code), "{sql}: {error:?}");
            let _ = session.run("ROLLBACK");
            false
        }
    }
}

/// A few of everything, through a connection of its own.
fn script(pair: &Pair, written: &mut Written) {
    let mut session = pair.session();
    written.insert(&mut session);
    attempt(&mut session, "PRAGMA wal_checkpoint(TRUNCATE)");
    written.insert(&mut session);
    attempt(&mut session, "CREATE TABLE IF NOT EXISTS other(x)");
    attempt(&mut session, "DROP TABLE IF EXISTS other");
    attempt(&mut session, "VACUUM");
    written.insert(&mut session);
    session.close();
}

fn chosen(seed: u64) -> BTreeSet<u64> {
    let wanted = match std::env::var(FAULTS) {
        Ok(word) if word == "all" => return (1..=2 * OPERATIONS).collect(),
        Ok(number) => number.parse().expect("a number of faults, or `all`"),
        Err(_) => FEW,
    };
    let mut random = StdRng::seed_from_u64(seed);
    (0..wanted)
        .map(|_| random.random_range(1..=OPERATIONS))
        .collect()
}

fn each_fails_once(mode: &str, on_primary: bool, errno: i32) {
    let Some(mut pair) = Pair::new(on_primary) else {
        return;
    };
    pair.create(mode);
    let mut written = Written::default();
    for nth in chosen(7) {
        pair.disk.arm(Fault {
            errno,
            ..Fault::of_change(nth)
        });
        script(&pair, &mut written);
        if !on_primary {
            let replica = pair.cluster.replica();
            let at = pair.cluster.primary.pos("app");
            until(
                RECOVERED,
                "the replica follows, after a fault as well",
                || replica.pos("app") == at,
            );
        }
        let (seen, hits) = pair.disk.disarm();
        eprintln!("{mode}, on the primary: {on_primary}, {nth} of {seen}: {hits:?}");
        let mut session = pair.session();
        until(RECOVERED, "writes succeed", || written.insert(&mut session));
        written.assert_kept(&mut session);
        session.close();
        pair.assert_recovered();
        if seen < nth {
            break;
        }
    }
    pair.cluster.stop();
}

macro_rules! each_fails_once {
    ($name:ident, $mode:literal, $on_primary:literal, $errno:ident) => {
        #[test]
        fn $name() {
            each_fails_once($mode, $on_primary, libc::$errno);
        }
    };
}

each_fails_once!(of_the_primary_in_delete_mode, "delete", true, EIO);
each_fails_once!(of_the_primary_in_truncate_mode, "truncate", true, EIO);
each_fails_once!(of_the_primary_in_persist_mode, "persist", true, ENOSPC);
each_fails_once!(of_the_primary_in_wal_mode, "wal", true, EIO);
each_fails_once!(of_the_replica_in_delete_mode, "delete", false, EIO);
each_fails_once!(of_the_replica_in_wal_mode, "wal", false, EIO);

/// Something fails until it is mended: the node says so meanwhile, and goes on afterwards.
fn latches_and_recovers(mode: &str, on_primary: bool, kind: Kind, path: &str) {
    let Some(mut pair) = Pair::new(on_primary) else {
        return;
    };
    pair.create(mode);
    let mut written = Written::default();
    let mut session = pair.session();
    assert!(written.insert(&mut session));
    pair.disk.arm(Fault::of_all(kind, path));
    written.insert(&mut session);
    let node = if on_primary {
        &pair.cluster.primary
    } else {
        pair.cluster.replica()
    };
    until(RECOVERED, "the node says that it has stopped", || {
        Pair::is_latched(node)
    });
    pair.heal_and_finish(session, written);
}

#[test]
fn a_log_that_cannot_be_written_is_shown_in_wal_mode() {
    latches_and_recovers("wal", true, Kind::Write, "/ltx/");
}

#[test]
fn a_wal_that_cannot_be_read_is_shown() {
    latches_and_recovers("wal", true, Kind::Read, "/dbs/app/wal");
}

#[test]
fn a_replica_that_cannot_write_its_wal_says_so() {
    latches_and_recovers("wal", false, Kind::Write, "/dbs/app/wal");
}

#[test]
fn a_replica_that_cannot_write_its_database_says_so() {
    latches_and_recovers("delete", false, Kind::Write, "/dbs/app/database");
}

/// What a late replica needs cannot be read for a while.
#[test]
fn a_snapshot_that_cannot_be_read_comes_later() {
    let Some(mut pair) = Pair::new(true) else {
        return;
    };
    pair.create("delete");
    let written = Written::default();
    let session = pair.session();
    pair.disk.arm(Fault::of_all(Kind::Read, "/dbs/app/"));
    let refused = pair.cluster.primary.api().export("app");
    assert!(refused.is_err(), "an export of what cannot be read");
    pair.heal_and_finish(session, written);
}

/// A replica copies the log into the database before it leaves WAL mode. As long as it cannot remove the log, readers
/// read it: what comes later must not go past it.
#[test]
fn a_replica_that_cannot_remove_its_log_does_not_leave_wal_mode() {
    let Some(mut pair) = Pair::new(false) else {
        return;
    };
    pair.create("wal");
    let mut written = Written::default();
    let mut session = pair.session();
    assert!(written.insert(&mut session));
    pair.disk.arm(Fault::of_all(Kind::Unlink, "/dbs/app/wal"));
    assert_eq!(session.value("PRAGMA journal_mode = delete"), "delete");
    for _ in 0..3 {
        until(RECOVERED, "writes succeed", || written.insert(&mut session));
        assert_agreement(&pair.cluster, "app");
    }
    pair.heal(&mut session, &mut written);
    let log = pair.cluster.replica().database("app-wal");
    until(RECOVERED, "the log is removed", || !log.exists());
    written.assert_kept(&mut session);
    session.close();
    pair.assert_recovered();
    pair.cluster.stop();
}
