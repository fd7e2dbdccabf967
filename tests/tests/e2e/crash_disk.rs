//! The disk of a node that died, made for any moment of a recorded run, and what a new start makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::faultfs::{FaultFs, Loss};
use harness::{Cluster, Node, Stage, assert_agreement, await_same_position, integrity};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Another size for the run: how many moments of each script are tried, `all` for all of them.
pub(crate) const MOMENTS: &str = "LITEFS_CRASH_MOMENTS";

/// What an application does.
pub(crate) struct Script {
    /// `PRAGMA`s of its connection.
    pub(crate) pragmas: &'static str,
    /// Statements between the commits.
    pub(crate) between: &'static [&'static str],
    /// How many commits come before, between and after them.
    pub(crate) commits: u32,
}

/// Which node dies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dies {
    Primary,
    Replica,
}

/// A script that was run on a disk that remembers everything.
pub(crate) struct Recording {
    cluster: Cluster,
    disk: FaultFs,
    /// For each commit how many operations were done when it returned.
    acknowledged: Vec<usize>,
    /// When the script began and ended.
    begin: usize,
    end: usize,
    dies: Dies,
    /// The data directory of the other node, which has everything.
    other: PathBuf,
}

/// How many commits must be there after a crash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All that returned.
    Acknowledged,
    /// All that returned but the last one.
    AllButTheLast,
    /// Any first part.
    Some,
}

/// Runs `script` on a pair; none where there can be no mounts.
pub(crate) fn record(limit: Duration, script: &Script, dies: Dies) -> Option<Recording> {
    let stage = Stage::with_mounts(limit)?;
    let mut primary = Node::primary(&stage, "primary");
    let mut replica = Node::replica(&stage, "replica1", &primary);
    let (mortal, other) = match dies {
        Dies::Primary => (&primary, &replica),
        Dies::Replica => (&replica, &primary),
    };
    let mut disk = FaultFs::mount(&stage, &mortal.settings().data);
    let other = other.settings().data.clone();
    primary.start();
    replica.start();
    let begin = disk.done();
    let mut session = Session::open(stage.tag(), &primary.database("app"), Access::Create);
    session.rows(script.pragmas);
    session.rows("CREATE TABLE t(n INTEGER PRIMARY KEY, x); CREATE TABLE other(x)");
    let mut acknowledged = Vec::new();
    for step in std::iter::once(&"SELECT 1").chain(script.between) {
        session.rows(step);
        for _ in 0..script.commits {
            session.rows(&insert(acknowledged.len()));
            acknowledged.push(disk.done());
        }
    }
    await_same_position(&primary, &replica, "app");
    session.close();
    await_same_position(&primary, &replica, "app");
    let end = disk.done();
    replica.stop();
    primary.stop();
    Some(Recording {
        cluster: Cluster {
            primary,
            replicas: vec![replica],
            stage,
        },
        disk,
        acknowledged,
        begin,
        end,
        dies,
        other,
    })
}

fn insert(number: usize) -> String {
    format!(
        "INSERT INTO t VALUES ({number}, printf('%.*c', {}, 'x'))",
        500 + number * 137 % 3000
    )
}

impl Recording {
    /// Tries moments of the run: `few` of them chosen by `seed`, or as many as the environment says.
    pub(crate) fn at_moments(
        mut self,
        few: usize,
        seed: u64,
        loss: impl Fn(u64) -> Loss,
        kept: Kept,
    ) {
        let all: Vec<usize> = (self.begin..=self.end).collect();
        let wanted = match std::env::var(MOMENTS) {
            Ok(word) if word == "all" => all.len(),
            Ok(number) => number.parse().expect("a number of moments, or `all`"),
            Err(_) => few,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let mut chosen = BTreeSet::new();
        while chosen.len() < wanted.min(all.len()) {
            chosen.insert(if wanted >= all.len() {
                all[chosen.len()]
            } else {
                all[random.random_range(0..all.len())]
            });
        }
        for moment in chosen {
            self.restart_at(moment, loss(seed ^ moment as u64), kept);
        }
    }

    /// A primary starts on what is there after `moment` operations, and its replica may be ahead of it.
    fn restart_at(&mut self, moment: usize, loss: Loss, kept: Kept) {
        eprintln!(
            "after {moment} of {}..{} operations, before {}, {loss:?}",
            self.begin,
            self.end,
            self.disk.describe(moment)
        );
        let stage = &self.cluster.stage;
        let primary = Node::primary(stage, &format!("again{moment}"));
        let replica = Node::replica(stage, &format!("follower{moment}"), &primary);
        let (primary_data, replica_data) = (
            primary.settings().data.clone(),
            replica.settings().data.clone(),
        );
        let (image, whole) = match self.dies {
            Dies::Primary => (primary_data, replica_data),
            Dies::Replica => (replica_data, primary_data),
        };
        self.disk.image(moment, loss, &image);
        copy(&self.other, &whole);
        // Every other time the node knows that the machine was off, and takes back from the other what it has lost.
        let asks = matches!(loss, Loss::Unsynced { .. }) && moment % 2 == 1;
        if asks {
            start_the_machine_again(&image);
        }
        let before = unreadable(&image);
        self.cluster.primary = primary;
        self.cluster.replicas = vec![replica];
        self.cluster.primary.launch();
        if asks {
            self.cluster.replica_mut().launch();
            self.cluster.primary.await_ready();
        } else {
            self.cluster.primary.await_ready();
            self.check_rows(moment, kept, false);
            self.cluster.replica_mut().launch();
        }
        self.cluster.replica_mut().await_ready();
        self.check_rows(moment, kept, asks);
        self.go_on();
        let after = unreadable(&image);
        let lost: Vec<_> = before.difference(&after).map(|(name, _)| name).collect();
        assert!(
            lost.is_empty(),
            "neither left alone nor put aside: {lost:?}"
        );
    }

    /// Writes, and the replica follows, wherever it was.
    fn go_on(&mut self) {
        let database = self.cluster.primary.database("app");
        let mut session = Session::open(self.cluster.stage.tag(), &database, Access::Create);
        session.rows("CREATE TABLE IF NOT EXISTS after(x); INSERT INTO after VALUES (1)");
        session.close();
        assert_agreement(&self.cluster, "app");
        self.cluster.stop();
    }

    /// What the primary has; `given_back`: its replica may have given it more.
    fn check_rows(&self, moment: usize, kept: Kept, given_back: bool) {
        let (moment, kept) = match self.dies {
            Dies::Primary => (moment, kept),
            Dies::Replica => (self.end, Kept::Acknowledged),
        };
        let returned = self
            .acknowledged
            .iter()
            .filter(|done| **done <= moment)
            .count();
        let least = match kept {
            Kept::Acknowledged => returned,
            Kept::AllButTheLast => returned.saturating_sub(1),
            Kept::Some => 0,
        };
        let database = self.cluster.primary.database("app");
        if least == 0 && !database.exists() {
            return;
        }
        assert_eq!(integrity(&database), "ok");
        let mut session = Session::open(self.cluster.stage.tag(), &database, Access::ReadWrite);
        let there = session
            .run("SELECT n, length(x) FROM t ORDER BY n")
            .unwrap_or_else(|error| {
                assert_eq!((least, error.code), (0, 1), "{error:?}");
                Vec::new()
            });
        session.close();
        for (number, row) in there.iter().enumerate() {
            let length = (500 + number * 137 % 3000).to_string();
            assert_eq!(
                row,
                &[number.to_string(), length],
                "a first part of the commits"
            );
        }
        let most = if given_back {
            self.acknowledged.len()
        } else {
            returned + 1
        };
        assert!(
            (least..=most).contains(&there.len()),
            "{returned} commits had returned, {} are there",
            there.len()
        );
    }
}

/// The LTX files that hold something that is no LTX file: name in the image, and content.
fn unreadable(data: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the image") {
            let path = entry.expect("an entry of the image").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "ltx") {
                let name = path.file_name().expect("it has an extension");
                let content = fs::read(&path).expect("a file of the image");
                if !content.is_empty() && !content.starts_with(b"LTX1") {
                    found.insert((name.to_string_lossy().into_owned(), content));
                }
            }
        }
    }
    found
}

/// The data directory is that of a machine that was off.
fn start_the_machine_again(data: &Path) {
    let boot = data.join("boot");
    if boot.exists() {
        fs::write(boot, "another\n").expect("a file of the image");
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success());
}
