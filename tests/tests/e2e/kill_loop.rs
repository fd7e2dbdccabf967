//! Nodes that are killed at random moments under load, again and again.

use std::time::Duration;

use harness::client::Workload;
use harness::ledger::{JournalMode, Synchronous};
use harness::{Cluster, assert_agreement, integrity, sqlite3, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PROGRESS: Duration = Duration::from_secs(20);
/// How many times by default; `LITEFS_KILLS=1000` is the long form.
const FEW: u32 = 6;
const KILLS: &str = "LITEFS_KILLS";
/// The time limit of one kill.
const EACH: Duration = Duration::from_secs(60);

fn tick(database: &std::path::Path) -> u64 {
    let text = sqlite3(database, "SELECT value FROM tick WHERE id = 64");
    text.expect("the ledger can be read")
        .parse()
        .expect("ticks are numbers")
}

/// One mode after the other, primary and replica in turn.
#[test]
fn nothing_is_lost_however_often() {
    let kills = std::env::var(KILLS).map_or(FEW, |word| word.parse().expect("a number of kills"));
    let Some(mut cluster) = Cluster::pair(EACH * kills) else {
        return;
    };
    for mode in JournalMode::ALL {
        let database = cluster.primary.database(&format!("{mode}.db"));
        workload(mode, 0)
            .tables_only()
            .run(cluster.stage.tag(), &database);
    }
    let mut random = StdRng::seed_from_u64(81);
    for kill in 0..kills {
        let mode = JournalMode::ALL[kill as usize / 2 % 4];
        kill_once(
            &mut cluster,
            mode,
            kill,
            kill % 2 == 0,
            random.random_range(1..40),
        );
    }
    cluster.stop();
}

fn workload(mode: JournalMode, seed: u64) -> Workload {
    Workload::new(mode, 4096, seed)
        .synchronous(Synchronous::Full)
        .transactions(60)
}

/// Kills a node once so many transactions have come there.
fn kill_once(cluster: &mut Cluster, mode: JournalMode, number: u32, primary: bool, after: u64) {
    let name = format!("{mode}.db");
    let database = cluster.primary.database(&name);
    let before = tick(&database);
    let running = workload(mode, 0)
        .more(u64::from(number))
        .start(cluster.stage.tag(), &database);
    let node = if primary {
        &cluster.primary
    } else {
        cluster.replica()
    };
    let begin = node.pos(&name).map_or(0, |pos| pos.txid);
    until(PROGRESS, "transactions come", || {
        node.pos(&name).is_some_and(|pos| pos.txid >= begin + after)
    });
    let outcome = if primary {
        cluster.primary.kill();
        let outcome = running.finish();
        cluster.primary.start();
        outcome
    } else {
        cluster.replica_mut().kill();
        cluster.replica_mut().start();
        running.succeed()
    };
    assert_eq!(integrity(&database), "ok");
    let (now, least) = (tick(&database), before + outcome.commits);
    // Of each of the two connections one commit may have happened without the application being told.
    let unsure = if primary { 2 } else { 0 };
    assert!(
        (least..=least + unsure).contains(&now),
        "kill {number} in {mode} mode: {least} commits were acknowledged, {now} are there"
    );
    assert_agreement(cluster, &name);
}
