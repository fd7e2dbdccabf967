//! The process that does the work dies; its guard starts another.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::history::Outcome;
use harness::until;

use crate::trial::{Begin, SOON, Trial, assert_only_primary};

/// No other node takes over while it is away: connections survive, and nothing is lost.
#[test]
fn a_worker_that_dies_is_replaced_within_the_lease() {
    let begin = Begin {
        ttl: Duration::from_secs(10),
        ..Begin::default()
    };
    let Some(trial) = Trial::with(begin) else {
        return;
    };
    let primary = trial.primary();
    let mut session = Session::open(
        trial.fleet.stage.tag(),
        &trial.database(primary),
        Access::ReadWrite,
    );
    session.rows(
        "PRAGMA busy_timeout = 20000; CREATE TEMP TABLE mine(x); INSERT INTO mine VALUES (7)",
    );
    session.value("SELECT count(*) FROM history");
    for _ in 0..2 {
        let node = &trial.fleet.nodes[primary];
        let before = node.worker();
        node.kill_worker();
        until(SOON, "another worker runs", || {
            node.worker().is_some_and(|now| Some(now) != before)
        });
        trial.works(primary);
        assert_eq!(trial.primary(), primary);
        session.rows("CREATE TABLE IF NOT EXISTS theirs(x); INSERT INTO theirs VALUES (1)");
    }
    assert_eq!(session.value("SELECT x FROM mine"), "7");
    assert_eq!(session.value("SELECT count(*) FROM theirs"), "2");
    session.close();
    let history = trial.finish(true);
    assert_only_primary(&history, primary);
    // Its connection was not given up for another error.
    for write in &history.writes {
        let said = write.outcome == Outcome::Acknowledged || write.after == u64::MAX;
        assert!(said || write.text == "database is locked", "{write:?}");
    }
}
