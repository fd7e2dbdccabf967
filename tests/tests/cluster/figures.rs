//! How long nobody can write when the primary changes. Not a check: it prints, for docs/benchmarks.md.
//!
//! One process on each node tries to write all the time, with a pause of a millisecond after an error: the gap is the
//! longest time without an acknowledged write around the change.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::client::{Access, Session};
use harness::history::TABLE;
use harness::{Fleet, sqlite3};

use crate::trial::{DATABASE, SOON, alone, lease};

const RUNS: usize = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// When writes were acknowledged, on all nodes.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<Instant>>);

impl Acknowledged {
    fn note(&self) {
        self.0.lock().expect("nobody panics").push(Instant::now());
    }

    /// The longest time without one between the two moments.
    fn longest_gap(&self, from: Instant, until: Instant) -> Duration {
        let mut all = self.0.lock().expect("nobody panics").clone();
        all.sort();
        let within: Vec<_> = all
            .into_iter()
            .filter(|at| (from..until).contains(at))
            .collect();
        let gaps = within.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().expect("there were writes")
    }
}

fn write_all_the_time(fleet: &Fleet, node: usize, log: &Acknowledged, stop: &AtomicBool) {
    let database = fleet.nodes[node].database(DATABASE);
    let mut session = Session::open(fleet.stage.tag(), &database, Access::ReadWrite);
    session.rows("PRAGMA busy_timeout = 0");
    while !stop.load(Ordering::Relaxed) {
        match session.run("INSERT INTO figures (x) VALUES ('x')") {
            Ok(_) => log.note(),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    session.close();
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    let last = times.len() - 1;
    eprintln!(
        "{what}, {} runs: min {:.0} ms, median {:.0} ms, max {:.0} ms",
        times.len(),
        ms(0),
        ms(last / 2),
        ms(last)
    );
}

fn fleet(limit: Duration, ttl: Duration) -> Option<Fleet> {
    let fleet = Fleet::with_consul(limit, 3, 1, |url| lease(url, ttl))?;
    let primary = fleet.await_primary(SOON);
    let sql = format!("PRAGMA journal_mode = wal; {TABLE}; CREATE TABLE figures (x)");
    sqlite3(&fleet.nodes[primary].database(DATABASE), &sql).expect("the primary takes it");
    fleet.await_settled(DATABASE);
    Some(fleet)
}

#[test]
#[ignore = "prints figures; minutes"]
fn gap_of_a_planned_handoff() {
    let _alone = alone();
    let limit = Duration::from_secs(300);
    let Some(fleet) = fleet(limit, Duration::from_secs(10)) else {
        return;
    };
    let (log, stop) = (Acknowledged::default(), AtomicBool::new(false));
    let mut windows = Vec::new();
    std::thread::scope(|scope| {
        for node in 0..3 {
            let (fleet, log, stop) = (&fleet, &log, &stop);
            scope.spawn(move || write_all_the_time(fleet, node, log, stop));
        }
        let mut primary = fleet.await_primary(SOON);
        while windows.len() < RUNS {
            std::thread::sleep(Duration::from_secs(1));
            let target = (primary + 1) % 3;
            let begun = Instant::now();
            let ended = fleet.nodes[target].command_line(&["promote"]);
            if ended.status.success() {
                windows.push((begun, Instant::now() + Duration::from_millis(500)));
                primary = target;
            } else {
                eprintln!("given up: {}", ended.output.trim());
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
    });
    let gaps = windows
        .into_iter()
        .map(|(from, until)| log.longest_gap(from, until));
    say("gap in writes at a planned handoff", gaps.collect());
}

#[test]
#[ignore = "prints figures; minutes"]
fn failover_after_a_kill() {
    let _alone = alone();
    let limit = Duration::from_secs(900);
    let seconds =
        std::env::var("LITEFS_FIGURES_TTL").map_or(10, |ttl| ttl.parse().expect("seconds"));
    let ttl = Duration::from_secs(seconds);
    let Some(mut fleet) = fleet(limit, ttl) else {
        return;
    };
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let old = fleet.await_settled(DATABASE);
        fleet.nodes[old].kill_all();
        let killed = Instant::now();
        let (new, _) = fleet.await_other_primary(old, ttl + SOON);
        let database = fleet.nodes[new].database(DATABASE);
        sqlite3(&database, "INSERT INTO figures (x) VALUES ('x')").expect("it takes writes");
        times.push(killed.elapsed());
        fleet.nodes[old].start();
    }
    say(&format!("failover after kill -9, TTL {seconds} s"), times);
}
