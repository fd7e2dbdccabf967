//! Every journal mode at every page size: what the primary's applications commit is what the replica's see, byte by
//! byte, and nobody ever sees half of it.

use std::fs;
use std::time::Duration;

use harness::client::{Access, Watch, Workload};
use harness::ledger::{JournalMode, Synchronous};
use harness::{Cluster, Pos, assert_agreement, sqlite3};

const LIMIT: Duration = Duration::from_secs(150);
/// Transactions of SQLite's command line program, each from a process of its own.
const FOREIGN: u64 = 6;
const FOREIGN_TRANSACTION: &str = "BEGIN IMMEDIATE;
    UPDATE account SET balance = balance + 5 WHERE id = 3;
    UPDATE account SET balance = balance - 5 WHERE id = 4;
    UPDATE tick SET value = value + 1 WHERE id IN (1, 64);
    COMMIT";

/// One cell of the matrix.
struct Case {
    mode: JournalMode,
    page_size: u32,
    passthrough: bool,
    synchronous: Synchronous,
}

impl Case {
    fn check(&self) {
        let Some(mut cluster) = Cluster::start(LIMIT, 1, |node| {
            node.settings_mut().passthrough = self.passthrough
        }) else {
            return;
        };
        let watches = start_watches(&cluster);
        let database = cluster.primary.database("app");
        let workload =
            Workload::new(self.mode, self.page_size, self.seed()).synchronous(self.synchronous);
        workload.tables_only().run(cluster.stage.tag(), &database);
        let before = cluster.primary.pos("app").expect("the ledger is there");

        let running = workload
            .more(self.seed())
            .start(cluster.stage.tag(), &database);
        for _ in 0..FOREIGN {
            sqlite3(&database, FOREIGN_TRANSACTION).expect("another program writes too");
        }
        let outcome = running.succeed();

        let after = assert_agreement(&cluster, "app");
        for watch in watches {
            let report = watch.succeed();
            assert!(
                report.states > 2,
                "a reader saw few of the transactions: {report:?}"
            );
        }
        let commits = outcome.commits + FOREIGN;
        self.assert_one_txid_per_commit(before, after, commits, outcome.rollbacks);
        let tick = sqlite3(
            &cluster.replica().database("app"),
            "SELECT value FROM tick WHERE id = 64",
        );
        assert_eq!(
            tick,
            Ok(commits.to_string()),
            "every commit is on the replica, once"
        );
        self.assert_export_is_the_file(&cluster);
        cluster.stop();
    }

    fn seed(&self) -> u64 {
        u64::from(self.page_size) + self.mode as u64
    }

    /// In the rollback modes a transaction that was undone after a spill may leave free pages changed. A log that is
    /// restarted without a sync is only noticed afterwards; then several commits are one transaction.
    fn assert_one_txid_per_commit(&self, before: Pos, after: Pos, commits: u64, rollbacks: u64) {
        let (most, least) = match (self.mode, self.synchronous) {
            (JournalMode::Wal, Synchronous::Off) => (commits, 1),
            (JournalMode::Wal, _) => (commits, commits),
            _ => (commits + rollbacks, commits),
        };
        let txids = after.txid - before.txid;
        assert!(
            (least..=most).contains(&txids),
            "{txids} TXIDs for {commits} commits and {rollbacks} undone"
        );
    }

    /// With nothing in the log the export is the database file itself.
    fn assert_export_is_the_file(&self, cluster: &Cluster) {
        let database = cluster.primary.database("app");
        sqlite3(&database, "PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoint");
        let file = fs::read(&database).expect("the mount can be read");
        let export = cluster.primary.api().export("app").expect("export");
        assert!(
            file == export,
            "the export of the primary is not the file in its mount"
        );
    }
}

/// Readers of every kind on the replica, and one on the primary, before there is anything to read.
fn start_watches(cluster: &Cluster) -> Vec<Watch> {
    let (tag, there, here) = (
        cluster.stage.tag(),
        cluster.replica().database("app"),
        cluster.primary.database("app"),
    );
    vec![
        Watch::start(tag, &there, Access::ReadOnly),
        Watch::start(tag, &there, Access::ReadWrite),
        Watch::start_python(tag, &there, Access::ReadOnly),
        Watch::start(tag, &here, Access::ReadWrite),
    ]
}

macro_rules! cells {
    ($($name:ident: $mode:ident, $page_size:literal, $synchronous:ident, $passthrough:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let (mode, synchronous) = (JournalMode::$mode, Synchronous::$synchronous);
                Case { mode, page_size: $page_size, passthrough: $passthrough, synchronous }.check();
            }
        )*
    };
}

cells! {
    delete_512: Delete, 512, Full, true;
    delete_4096: Delete, 4096, Full, true;
    delete_65536: Delete, 65536, Full, true;
    truncate_512: Truncate, 512, Full, true;
    truncate_4096: Truncate, 4096, Normal, true;
    truncate_65536: Truncate, 65536, Full, true;
    persist_512: Persist, 512, Full, true;
    persist_4096: Persist, 4096, Normal, true;
    persist_65536: Persist, 65536, Full, true;
    wal_512: Wal, 512, Normal, true;
    wal_4096: Wal, 4096, Normal, true;
    wal_65536: Wal, 65536, Normal, true;
    wal_full_512: Wal, 512, Full, true;
    wal_full_4096: Wal, 4096, Full, true;
    delete_4096_cached: Delete, 4096, Full, false;
    persist_512_cached: Persist, 512, Full, false;
    wal_4096_cached: Wal, 4096, Normal, false;
    wal_full_65536_cached: Wal, 65536, Full, false;
    delete_off_4096: Delete, 4096, Off, true;
    wal_off_4096: Wal, 4096, Off, true;
}
