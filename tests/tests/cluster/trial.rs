//! A cluster under load from its first moment to its last, and the check of what came of it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use harness::history::{
    History, Observer, Pace, Read, Recorder, TABLE, Terms, Violation, Write, asides, check, finals,
};
use harness::{ConsulLease, Fleet, Node, sqlite3, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(150);
/// For what is not measured.
pub(crate) const SOON: Duration = Duration::from_secs(40);
pub(crate) const DATABASE: &str = "app";
/// How long applications wait for locks.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);
/// So many writes show that a node takes them.
const SOME: usize = 20;

/// One cluster at a time: times are measured, and a node that gets no CPU loses its lease.
static ALONE: Mutex<()> = Mutex::new(());

/// Held by who has a cluster.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a trial begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) nodes: usize,
    pub(crate) ttl: Duration,
    pub(crate) journal_mode: &'static str,
    pub(crate) seed: u64,
}

impl Default for Begin {
    fn default() -> Begin {
        Begin {
            nodes: 3,
            ttl: Duration::from_secs(2),
            journal_mode: "wal",
            seed: 1,
        }
    }
}

/// The applications of one node.
#[derive(Debug)]
struct Applications {
    writer: Option<Recorder>,
    reader: Option<Observer>,
    /// The number of the next writer's first write.
    next: u32,
}

/// A cluster with applications on each node.
#[derive(Debug)]
pub(crate) struct Trial {
    applications: Vec<Applications>,
    terms: Option<Terms>,
    writes: Vec<Write>,
    reads: Vec<Read>,
    pub(crate) begin: Begin,
    pub(crate) fleet: Fleet,
    _alone: MutexGuard<'static, ()>,
}

impl Trial {
    /// Three nodes, a TTL of 2 s, a database in WAL mode, applications at work; none where the machine cannot have it.
    #[track_caller]
    pub(crate) fn start() -> Option<Trial> {
        Trial::with(Begin::default())
    }

    #[track_caller]
    pub(crate) fn with(begin: Begin) -> Option<Trial> {
        Trial::prepared(begin, |_, _| {})
    }

    /// A trial that may take that much longer.
    #[track_caller]
    pub(crate) fn lasting(begin: Begin, longer: Duration) -> Option<Trial> {
        Trial::new(begin, LIMIT + longer, |_, _| {})
    }

    /// `prepare` is given each node before it is started.
    #[track_caller]
    pub(crate) fn prepared(begin: Begin, prepare: impl FnMut(usize, &mut Node)) -> Option<Trial> {
        Trial::new(begin, LIMIT, prepare)
    }

    #[track_caller]
    fn new(
        begin: Begin,
        limit: Duration,
        mut prepare: impl FnMut(usize, &mut Node),
    ) -> Option<Trial> {
        let alone = alone();
        let lease = |url: &str| lease(url, begin.ttl);
        let mut fleet = Fleet::assemble(limit, begin.nodes, begin.seed, lease)?;
        for (number, node) in fleet.nodes.iter_mut().enumerate() {
            prepare(number, node);
        }
        fleet.start_all();
        let primary = fleet.await_primary(SOON);
        let sql = format!("PRAGMA journal_mode = {}; {TABLE}", begin.journal_mode);
        sqlite3(&fleet.nodes[primary].database(DATABASE), &sql).expect("the primary takes it");
        fleet.await_settled(DATABASE);
        let none = |_| Applications {
            writer: None,
            reader: None,
            next: 1,
        };
        let mut trial = Trial {
            applications: (0..begin.nodes).map(none).collect(),
            terms: Some(Terms::watch(&fleet.nodes)),
            writes: Vec::new(),
            reads: Vec::new(),
            begin,
            fleet,
            _alone: alone,
        };
        (0..begin.nodes).for_each(|node| trial.start_applications(node));
        trial.works(primary);
        Some(trial)
    }

    pub(crate) fn database(&self, node: usize) -> PathBuf {
        self.fleet.nodes[node].database(DATABASE)
    }

    /// The only primary.
    #[track_caller]
    pub(crate) fn primary(&self) -> usize {
        self.fleet.await_primary(SOON)
    }

    /// All nodes but this one.
    pub(crate) fn others(&self, node: usize) -> Vec<usize> {
        (0..self.fleet.nodes.len())
            .filter(|other| *other != node)
            .collect()
    }

    /// Waits until applications on `node` have written some more.
    #[track_caller]
    pub(crate) fn works(&self, node: usize) {
        let writer = self.applications[node].writer.as_ref();
        writer
            .expect("applications run there")
            .await_acknowledged(SOME, SOON);
    }

    /// What the application that writes on `node` now has tried.
    pub(crate) fn writes(&self, node: usize) -> Vec<Write> {
        let writer = self.applications[node].writer.as_ref();
        writer.map(Recorder::writes).unwrap_or_default()
    }

    /// Starts applications on a node; they use one connection for as long as they can.
    #[track_caller]
    pub(crate) fn start_applications(&mut self, node: usize) {
        let (tag, database) = (self.fleet.stage.tag().to_owned(), self.database(node));
        let applications = &mut self.applications[node];
        assert!(applications.writer.is_none() && applications.reader.is_none());
        let number = u32::try_from(node).expect("few nodes");
        let pace = Pace {
            pause_ms: 10,
            busy_timeout_ms: u64::try_from(PATIENCE.as_millis()).expect("short"),
            ..Pace::new(number).from(applications.next)
        };
        applications.writer = Some(Recorder::start(&tag, &database, &pace));
        // Readers have patience: in a rollback mode somebody who commits is in their way.
        let pace = Pace {
            pause_ms: 20,
            busy_timeout_ms: 10_000,
            ..pace
        };
        applications.reader = Some(Observer::start(&tag, &database, &pace));
    }

    /// Kills the applications of a node, as its machine takes them with it.
    pub(crate) fn kill_applications(&mut self, node: usize) {
        self.end_applications(node, Recorder::kill);
    }

    /// Ends them after what they are at.
    pub(crate) fn finish_applications(&mut self, node: usize) {
        self.end_applications(node, Recorder::finish);
    }

    fn end_applications(&mut self, node: usize, end: impl Fn(Recorder) -> Vec<Write>) {
        let applications = &mut self.applications[node];
        if let Some(writer) = applications.writer.take() {
            let writes = end(writer);
            applications.next += u32::try_from(writes.len()).expect("few writes");
            self.writes.extend(writes);
        }
        if let Some(reader) = applications.reader.take() {
            self.reads.extend(reader.finish());
        }
    }

    /// The machine of a node dies, applications first.
    #[track_caller]
    pub(crate) fn kill_machine(&mut self, node: usize) {
        self.kill_applications(node);
        self.fleet.nodes[node].kill_all();
    }

    /// Starts a node that is not running, and its applications.
    #[track_caller]
    pub(crate) fn start_machine(&mut self, node: usize) {
        self.fleet.nodes[node].start();
        self.start_applications(node);
    }

    /// Stops a node as an operator would; first its applications.
    #[track_caller]
    pub(crate) fn stop_machine(&mut self, node: usize) {
        self.finish_applications(node);
        self.fleet.nodes[node].stop();
    }

    /// `litefs promote` until it is done: a primary that is busy may refuse.
    #[track_caller]
    pub(crate) fn promote(&self, node: usize) {
        let deadline = Instant::now() + SOON;
        loop {
            let ended = self.fleet.nodes[node].command_line(&["promote"]);
            if ended.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{}", ended.output);
            eprintln!("node{node} is not promoted: {}", ended.output.trim());
        }
    }

    /// Lets time pass under load.
    pub(crate) fn go_on_for(&self, time: Duration) {
        let end = Instant::now() + time;
        until(time + SOON, "time passes", || Instant::now() >= end);
    }

    /// Ends the load when one node is the primary and takes writes, lets all nodes settle, and checks the history.
    /// `planned`: nothing may be missing.
    #[track_caller]
    pub(crate) fn finish(self, planned: bool) -> History {
        self.finish_but_for(planned, |_, _| false)
    }

    /// As [`Trial::finish`]; what is `excused` is no violation.
    #[track_caller]
    pub(crate) fn finish_but_for(
        mut self,
        planned: bool,
        excused: impl Fn(&History, &Violation) -> bool,
    ) -> History {
        let primary = self.primary();
        self.works(primary);
        for node in 0..self.applications.len() {
            self.finish_applications(node);
        }
        self.fleet.await_settled(DATABASE);
        let terms = self.terms.take().map(Terms::finish).unwrap_or_default();
        let history = History {
            writes: std::mem::take(&mut self.writes),
            reads: std::mem::take(&mut self.reads),
            terms,
            finals: finals(&self.fleet.stage, &self.fleet.nodes, DATABASE),
            asides: asides(&self.fleet.stage, &self.fleet.nodes, DATABASE),
            planned,
        };
        let mut violations = check(&history);
        violations.retain(|violation| !excused(&history, violation));
        let shown = violations.iter().take(20).map(ToString::to_string);
        let shown: Vec<String> = shown.collect();
        assert!(
            violations.is_empty(),
            "{} violations:\n{}\nterms: {:#?}",
            violations.len(),
            shown.join("\n"),
            history.terms
        );
        self.fleet.stop_all();
        history
    }
}

pub(crate) fn lease(url: &str, ttl: Duration) -> ConsulLease {
    ConsulLease {
        ttl: format!("{}ms", ttl.as_millis()),
        ..ConsulLease::new(url, "litefs/primary")
    }
}

/// Panics unless all terms are of `node`.
#[track_caller]
pub(crate) fn assert_only_primary(history: &History, node: usize) {
    let terms = &history.terms;
    let is_it = |term: &harness::history::Term| usize::try_from(term.node) == Ok(node);
    assert!(!terms.is_empty() && terms.iter().all(is_it), "{terms:#?}");
}
