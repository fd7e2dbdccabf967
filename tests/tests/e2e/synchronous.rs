//! `PRAGMA synchronous`: what nobody syncs is captured all the same, also where connections of one database differ.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::ledger::JournalMode;
use harness::{Cluster, assert_agreement, await_same_position};

use crate::both::{both_ways, run, there, txid};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: &str = "SELECT count(*) FROM t";
const INSERT: &str = "INSERT INTO t(x) VALUES (randomblob(300));";

both_ways! {
    an_unproven_generation
    levels_mixed
    a_log_that_begins_anew_at_every_commit
}

fn connection(cluster: &Cluster, synchronous: &str) -> Session {
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0"
    ));
    session
}

/// One connection checkpoints at FULL with a reader present; another, at OFF, writes more, checkpoints that and begins
/// the log anew: salt-1 goes up by one and nobody syncs anything. With passthrough the node is stopped meanwhile, until
/// the checkpoint asks it for something (the length of the file, its truncation). From then on it is a race, which
/// the node mostly wins: that it compares when it loses is not held here.
fn an_unproven_generation(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let mut full = connection(&cluster, "full");
    full.rows("PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    let mut off = connection(&cluster, "off");
    let mut reader = connection(&cluster, "normal");
    let mut rows = 0;
    for round in 0..8 {
        full.rows(&INSERT.repeat(5));
        off.rows(COUNT);
        await_same_position(&cluster.primary, cluster.replica(), "app");
        reader.rows(&format!("BEGIN; {COUNT}"));
        full.rows("PRAGMA wal_checkpoint");
        if passthrough {
            cluster.primary.pause();
        }
        off.rows(&INSERT.repeat(5));
        reader.rows("COMMIT");
        // It may have to ask for the length of the database file, so it is answered only later.
        off.begin(&format!(
            "PRAGMA wal_checkpoint; {} PRAGMA wal_checkpoint; {INSERT}",
            INSERT.repeat(3)
        ));
        if passthrough {
            cluster.primary.resume();
        }
        off.finish().expect("it goes on");
        rows += 14;
        assert_eq!(full.value(COUNT), rows.to_string(), "round {round}");
        assert_agreement(&cluster, "app");
        assert_eq!(there(&cluster, "app", COUNT), rows.to_string());
    }
    [full, off, reader].into_iter().for_each(Session::close);
    assert_agreement(&cluster, "app");
}

/// Each commit fills a log that another one begins anew: the hardest case for whoever looks only at what is left.
fn a_log_that_begins_anew_at_every_commit(passthrough: bool) {
    let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
        return;
    };
    let mut full = connection(&cluster, "full");
    full.rows("PRAGMA journal_mode = wal; CREATE TABLE t(id INTEGER PRIMARY KEY, x)");
    let mut off = connection(&cluster, "off");
    let mut other = connection(&cluster, "off");
    for session in [&mut off, &mut other] {
        session.rows("PRAGMA wal_autocheckpoint = 1");
        session.begin(&INSERT.repeat(150));
    }
    full.rows(&format!("{INSERT} PRAGMA wal_checkpoint;").repeat(20));
    for session in [&mut off, &mut other] {
        session.finish().expect("it commits");
    }
    assert_agreement(&cluster, "app");
    assert_eq!(there(&cluster, "app", COUNT), "320");
    [full, off, other].into_iter().for_each(Session::close);
    assert_agreement(&cluster, "app");
}

fn levels_mixed(passthrough: bool) {
    for mode in JournalMode::ALL {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let database = cluster.primary.database("app");
        run(
            &database,
            &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x)"),
        );
        let before = txid(&cluster, "app");
        let mut sessions: Vec<Session> = ["off", "normal", "full", "extra"]
            .iter()
            .map(|level| {
                let mut session = connection(&cluster, level);
                session.rows(&format!(
                    "PRAGMA journal_mode = {mode}; PRAGMA wal_autocheckpoint = 7"
                ));
                session
            })
            .collect();
        for session in &mut sessions {
            session.begin(&INSERT.repeat(20));
        }
        for session in &mut sessions {
            session.finish().expect("everybody gets a turn");
        }
        let after = assert_agreement(&cluster, "app").txid - before;
        assert_eq!(there(&cluster, "app", COUNT), "80", "in {mode} mode");
        match mode {
            JournalMode::Wal => assert!((1..=80).contains(&after), "{after} TXIDs in wal mode"),
            _ => assert_eq!(after, 80, "TXIDs in {mode} mode"),
        }
        sessions.into_iter().for_each(Session::close);
        assert_agreement(&cluster, "app");
    }
}
