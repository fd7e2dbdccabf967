//! Connections and nodes that come and go.

use std::time::{Duration, Instant};

use harness::client::{Access, Session};
use harness::{Cluster, Node, Stage, assert_agreement, python, wait_for};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(150);
const ENDED: Duration = Duration::from_secs(90);
/// A caller of a node that was killed gets an error within this time.
const NO_HANG: Duration = Duration::from_secs(15);
const COUNT: &str = "SELECT count(*) FROM t";

both_ways! {
    many_short_connections
    a_start_with_many_databases_and_readers
    a_stop_revokes_what_is_still_open
    callers_of_a_killed_node_get_errors
}

/// Connects, inserts, closes, over and over: each last close removes the log, each open makes it again.
const SHORT: &str = r#"
import sqlite3, sys
for number in range(int(sys.argv[2])):
    connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
    connection.execute("INSERT INTO t(x) VALUES (?)", (number,))
    connection.close()
"#;

fn many_short_connections(passthrough: bool) {
    const TIMES: u64 = 150;
    for mode in ["wal", "delete"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        run(
            &database,
            &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x)"),
        );
        let before = txid(&cluster, "app");
        let times = TIMES.to_string();
        let mut applications = [(); 2].map(|()| {
            python(
                cluster.stage.tag(),
                SHORT,
                &[database.as_os_str(), times.as_ref()],
            )
        });
        for application in &mut applications {
            assert!(wait_for(application, ENDED, "an application ends").success());
        }
        let made = assert_agreement(&cluster, "app").txid - before;
        assert_eq!(made, 2 * TIMES, "in {mode} mode");
        assert_eq!(there(&cluster, "app", COUNT), (2 * TIMES).to_string());
    }
}

/// Reads all databases over and over, each time with a new connection, until each was read with all its rows.
const POLL: &str = r#"
import sqlite3, sys
missing = set(range(int(sys.argv[2])))
while missing:
    for number in list(missing):
        try:
            connection = sqlite3.connect("file:%s/db%d?mode=rw" % (sys.argv[1], number), uri=True, timeout=10)
            if connection.execute("SELECT count(*) FROM t").fetchone()[0] == 3:
                missing.remove(number)
            connection.close()
        except sqlite3.OperationalError as error:
            if "unable to open" not in str(error) and "no such table" not in str(error):
                raise
"#;

fn a_start_with_many_databases_and_readers(passthrough: bool) {
    const MANY: usize = 30;
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let mut primary = Node::primary(&stage, "primary");
    primary.settings_mut().passthrough = passthrough;
    primary.start();
    let mut open = Vec::new();
    for number in 0..MANY {
        let database = primary.database(&format!("db{number}"));
        let mut session = Session::open(stage.tag(), &database, Access::Create);
        session.rows(
            "PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3)",
        );
        // Half of them stay open, with a log.
        if number % 2 == 0 {
            open.push(session);
        } else {
            session.close();
        }
    }
    let mut replica = Node::replica(&stage, "replica1", &primary);
    replica.settings_mut().passthrough = passthrough;
    replica.start();
    let many = MANY.to_string();
    for _ in 0..2 {
        let mut readers = [(); 3].map(|()| {
            let arguments = [replica.mount().as_os_str(), many.as_ref()];
            python(stage.tag(), POLL, &arguments)
        });
        if replica_restarts(&open) {
            replica.stop();
            replica.start();
        }
        for reader in &mut readers {
            // One that was reading from a mount that went away ends with an error; it must end.
            let _ = wait_for(reader, ENDED, "a reader has seen all databases");
        }
        open.truncate(MANY / 4);
    }
    let mut cluster = Cluster {
        primary,
        replicas: vec![replica],
        stage,
    };
    for number in 0..MANY {
        assert_agreement(&cluster, &format!("db{number}"));
    }
    drop(open);
    cluster.stop();
}

/// In the second round.
fn replica_restarts(open: &[Session]) -> bool {
    open.len() < 10
}

/// After the wait for applications their handles answer errors, and what they had committed is there.
fn a_stop_revokes_what_is_still_open(passthrough: bool) {
    let Some(mut cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let modes = ["wal", "delete", "persist"];
    let mut sessions = Vec::new();
    for mode in modes {
        let database = cluster.primary.database(mode);
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; PRAGMA synchronous = normal; CREATE TABLE t(x);
             INSERT INTO t VALUES (randomblob(3000)); INSERT INTO t VALUES (2);
             PRAGMA cache_size = 1; BEGIN; INSERT INTO t SELECT randomblob(30000) FROM t"
        ));
        sessions.push(session);
    }
    cluster.primary.stop();
    for session in &mut sessions {
        session.error("INSERT INTO t VALUES (4); COMMIT");
        let _ = session.run("ROLLBACK");
        session.error("INSERT INTO t VALUES (5)");
    }
    cluster.primary.start();
    for mode in modes {
        assert_eq!(run(&cluster.primary.database(mode), COUNT), "2", "{mode}");
        assert_agreement(&cluster, mode);
    }
    // They answer errors still, whatever is mounted there by now.
    for session in &mut sessions {
        session.error("INSERT INTO t VALUES (6)");
    }
    sessions.into_iter().for_each(Session::kill);
    for mode in modes {
        run(&cluster.primary.database(mode), "INSERT INTO t VALUES (3)");
        assert_agreement(&cluster, mode);
        assert_eq!(there(&cluster, mode, COUNT), "3");
    }
}

fn callers_of_a_killed_node_get_errors(passthrough: bool) {
    let Some(mut cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let modes = ["wal", "delete", "truncate"];
    let mut sessions = modes.map(|mode| {
        let database = cluster.primary.database(mode);
        let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
        session.rows(&format!(
            "PRAGMA journal_mode = {mode}; PRAGMA synchronous = full; PRAGMA busy_timeout = 500;
             CREATE TABLE t(x); INSERT INTO t VALUES (1)"
        ));
        session
    });
    cluster.primary.kill();
    for session in &mut sessions {
        let begun = Instant::now();
        session.error("INSERT INTO t VALUES (2)");
        assert!(begun.elapsed() < NO_HANG, "{:?}", begun.elapsed());
    }
    sessions.into_iter().for_each(Session::close);
    cluster.primary.start();
    for mode in modes {
        // The commit that failed may have happened, as on any disk.
        let count = run(&cluster.primary.database(mode), COUNT);
        assert!(matches!(count.as_str(), "1" | "2"), "{mode}: {count}");
        assert_agreement(&cluster, mode);
    }
}
