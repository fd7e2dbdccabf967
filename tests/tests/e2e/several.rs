//! Transactions over several databases: all of it, or nothing.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, assert_agreement, await_same_position, until};

const LIMIT: Duration = Duration::from_secs(120);
const RECOVERED: Duration = Duration::from_secs(20);
/// SQLITE_IOERR.
const IO_ERROR: i32 = 10;

const BOTH: &str = "BEGIN; INSERT INTO main.t VALUES (1); INSERT INTO other.t VALUES (1); COMMIT";
const COUNTS: &str = "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM other.t)";

/// The log of one of the two cannot be written. SQLite asks once, when it removes the super-journal, and then ignores
/// what happens to the journals.
#[test]
fn one_that_cannot_be_captured_is_rolled_back_in_all() {
    for mode in [
        JournalMode::Delete,
        JournalMode::Truncate,
        JournalMode::Persist,
    ] {
        for broken in ["a", "b"] {
            let Some(cluster) = Cluster::pair(LIMIT) else {
                return;
            };
            let [a, b] = ["a", "b"].map(|name| cluster.primary.database(name));
            let mut session = Session::open(cluster.stage.tag(), &a, Access::Create);
            session.rows(&format!(
                "ATTACH '{}' AS other; PRAGMA journal_mode = {mode}; PRAGMA other.journal_mode = {mode};
                 CREATE TABLE main.t(x); CREATE TABLE other.t(x)",
                b.display()
            ));
            session.rows(BOTH);
            let before = ["a", "b"].map(|name| cluster.primary.pos(name).expect("it is there"));

            let dbs = cluster.primary.settings().data.join("dbs");
            let (log, hidden) = (dbs.join(broken).join("ltx"), dbs.join(broken).join("away"));
            std::fs::rename(&log, &hidden).expect("the log is there");
            let error = session.error(BOTH);
            assert_eq!(error.code & 0xff, IO_ERROR, "{error:?}");
            let _ = session.run("ROLLBACK");
            assert_eq!(session.rows(COUNTS), [["1", "1"]]);
            let after = ["a", "b"].map(|name| cluster.primary.pos(name).expect("it is there"));
            assert_eq!(before, after);

            std::fs::rename(&hidden, &log).expect("nobody made another");
            until(RECOVERED, "it commits again", || {
                let committed = session.run(BOTH).is_ok();
                if !committed {
                    let _ = session.run("ROLLBACK");
                }
                committed
            });
            assert_eq!(session.rows(COUNTS), [["2", "2"]]);
            for name in ["a", "b"] {
                await_same_position(&cluster.primary, cluster.replica(), name);
                assert_agreement(&cluster, name);
            }
        }
    }
}
