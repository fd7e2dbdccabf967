//! A Django project, as its tutorial has it, unmodified: its database is on the mount of the primary and is served there
//! by several processes, while the same project serves the copy on the replica.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::{
    Answer, Cluster, Node, Service, Stage, Web, assert_agreement, await_same_position, free_port,
    python_packages, run_to_end, sqlite3,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(150);
const DATABASE: &str = "db.sqlite3";
/// Clients that write at the same time, each an author with entries of its own.
const AUTHORS: u64 = 4;
const ENTRIES: u64 = 20;
/// The new field of the second migration.
const MOOD: &str =
    "    mood = models.CharField(max_length=20, db_default=\"calm\", db_index=True)\n";

/// How Django uses its database.
#[derive(Clone, Copy)]
struct Mode {
    journal: &'static str,
    /// What each new connection does first.
    init: Option<&'static str>,
    /// What a request that writes on a replica is told.
    refusal: &'static str,
}

const BY_DEFAULT: Mode = Mode {
    journal: "delete",
    init: None,
    refusal: "attempt to write a readonly database",
};

const WAL: Mode = Mode {
    journal: "wal",
    init: Some("PRAGMA journal_mode=wal; PRAGMA synchronous=normal;"),
    refusal: "database is locked",
};

/// The files of the project, outside of the mounts, and how it is run.
struct Project<'a> {
    stage: &'a Stage,
    programs: &'a Path,
    directory: PathBuf,
    mode: Mode,
}

impl<'a> Project<'a> {
    /// Makes it as its author would: `startproject`, `startapp`, then some code.
    fn create(stage: &'a Stage, programs: &'a Path, mode: Mode) -> Project<'a> {
        let directory = stage.directory().join("project");
        fs::create_dir(&directory).expect("the directory of a stage is ours");
        let project = Project {
            stage,
            programs,
            directory,
            mode,
        };
        let admin = |arguments: &[&str]| {
            let mut command = Command::new(programs.join("django-admin"));
            command.args(arguments).current_dir(&project.directory);
            project.run(command);
        };
        admin(&["startproject", "site1", "."]);
        admin(&["startapp", "diary"]);
        project.append("site1/settings.py", include_str!("django/settings.py"));
        for (path, text) in [
            ("site1/urls.py", include_str!("django/urls.py")),
            ("diary/models.py", include_str!("django/models.py")),
            ("diary/views.py", include_str!("django/views.py")),
        ] {
            fs::write(project.directory.join(path), text).expect("the project is ours");
        }
        project
    }

    fn append(&self, path: &str, text: &str) {
        let file = File::options().append(true).open(self.directory.join(path));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("the project is ours");
    }

    /// `manage.py` with the database on `node`.
    #[track_caller]
    fn manage(&self, node: &Node, arguments: &[&str]) -> String {
        let mut command = self.python("python", node);
        command.arg("manage.py").args(arguments);
        self.run(command)
    }

    /// One of the programs, in the project, with the database on `node`.
    fn python(&self, program: &str, node: &Node) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(&self.directory)
            .env("DATABASE", node.database(DATABASE))
            .envs(self.mode.init.map(|init| ("DATABASE_INIT", init)));
        command
    }

    #[track_caller]
    fn run(&self, command: Command) -> String {
        let shown = format!("{command:?}");
        let ended = run_to_end(self.stage, command);
        assert!(ended.status.success(), "{shown}: {}", ended.output);
        ended.output
    }

    /// Serves the database on `node` with several processes that have several threads each.
    fn serve(&self, node: &Node, name: &str, timeout: &str) -> (Service, Web) {
        let port = free_port();
        let mut command = self.python("gunicorn", node);
        command
            .args(["--workers", "2", "--threads", "4", "--bind"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--no-control-socket", "site1.wsgi"])
            .env("DATABASE_TIMEOUT", timeout);
        let service = Service::start(self.stage, name, port, command);
        (service, Web::new(port))
    }
}

fn serves_on_both_nodes(mode: Mode) {
    let Some(programs) = python_packages() else {
        return;
    };
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    drive(&cluster, programs, mode);
    cluster.stop();
}

fn drive(cluster: &Cluster, programs: &Path, mode: Mode) {
    let (primary, replica) = (&cluster.primary, cluster.replica());
    let project = Project::create(&cluster.stage, programs, mode);
    project.manage(primary, &["makemigrations", "diary"]);
    project.manage(primary, &["migrate"]);
    let journal = sqlite3(&primary.database(DATABASE), "PRAGMA journal_mode");
    assert_eq!(journal.as_deref(), Ok(mode.journal));
    await_same_position(primary, replica, DATABASE);

    let (writing, web) = project.serve(primary, "django-primary", "20");
    // The shorter timeout is for those that try to write, in WAL mode; readers never wait that long.
    let (reading, copy) = project.serve(replica, "django-replica", "4");
    let first = write_while_others_read(&web, &copy, 0);

    // The schema changes under the servers on both nodes, and they go on.
    project.append("diary/models.py", MOOD);
    project.manage(primary, &["makemigrations", "diary"]);
    project.manage(primary, &["migrate"]);
    await_same_position(primary, replica, DATABASE);
    let seen = project.manage(replica, &["migrate", "--check"]);
    let second = write_while_others_read(&web, &copy, AUTHORS * ENTRIES);

    is_refused_on_the_replica(&copy, mode);
    await_same_position(primary, replica, DATABASE);
    let all: BTreeSet<u64> = first.union(&second).copied().collect();
    for side in [&web, &copy] {
        let found = side.get("/entries").json();
        let found: BTreeSet<u64> = numbers(&found["numbers"]);
        assert_eq!(found, all, "every acknowledged entry, and no other: {seen}");
        check_tally(&side.get("/tally"));
    }
    assert_agreement(cluster, DATABASE);
    reading.stop();
    writing.stop();
    assert_agreement(cluster, DATABASE);
}

/// Several clients write to `web` and read back what they wrote, while others read `copy`. Returns the numbers that were
/// acknowledged.
fn write_while_others_read(web: &Web, copy: &Web, begin: u64) -> BTreeSet<u64> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [0, 1].map(|_| scope.spawn(|| read_until(&over, copy)));
        let writers: Vec<_> = (0..AUTHORS)
            .map(|author| scope.spawn(move || write(web, author, begin + author * ENTRIES)))
            .collect();
        let written = writers.into_iter().map(|writer| writer.join());
        let written: Result<Vec<_>, _> = written.collect();
        over.store(true, Ordering::SeqCst);
        for reader in readers {
            let reads = reader.join().expect("a reader saw nothing wrong");
            assert!(reads > 0, "a reader never came to read");
        }
        let written = written.expect("every write was answered");
        written.into_iter().flatten().collect()
    })
}

fn write(web: &Web, author: u64, begin: u64) -> BTreeSet<u64> {
    let author = format!("author {author}");
    let answer = web.post("/authors", &json!({ "name": author }));
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    for number in begin..begin + ENTRIES {
        // Some are longer than a page.
        let length = (number * 577 % 9000) as usize;
        let entry = json!({ "author": author, "number": number, "text": "x".repeat(length) });
        let answer = web.post("/entries", &entry);
        assert_eq!(answer.status, 201, "{}", answer.text);
        let read = web.get(&format!("/entries/{number}")).json();
        assert_eq!(read["author"], author);
        assert_eq!(read["text"].as_str().map(str::len), Some(length));
    }
    (begin..begin + ENTRIES).collect()
}

/// Reads until it is `over`; returns how often.
fn read_until(over: &AtomicBool, web: &Web) -> u64 {
    let mut reads = 0;
    let mut before = 0;
    while !over.load(Ordering::SeqCst) {
        let sum = check_tally(&web.get("/tally"));
        assert!(sum >= before, "from {before} entries back to {sum}");
        before = sum;
        reads += 1;
    }
    reads
}

/// Nobody sees half a transaction. Returns how many entries there are.
#[track_caller]
fn check_tally(answer: &Answer) -> u64 {
    let tally = answer.json();
    let authors = tally["authors"].as_array().expect("a list");
    for author in authors {
        assert_eq!(author["written"], author["found"], "{author}");
    }
    authors
        .iter()
        .filter_map(|author| author["found"].as_u64())
        .sum()
}

fn is_refused_on_the_replica(copy: &Web, mode: Mode) {
    let answer = copy.post(
        "/entries",
        &json!({ "author": "author 0", "number": 1_000_000, "text": "" }),
    );
    assert_eq!(answer.status, 500);
    assert!(answer.text.contains(mode.refusal), "{}", answer.text);
    // The same process goes on reading.
    check_tally(&copy.get("/tally"));
}

fn numbers(list: &Value) -> BTreeSet<u64> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(Value::as_u64).collect()
}

#[test]
fn by_default_in_delete_mode() {
    serves_on_both_nodes(BY_DEFAULT);
}

#[test]
fn in_wal_mode() {
    serves_on_both_nodes(WAL);
}
