//! The version control system Fossil, unmodified: its repository, a SQLite database in DELETE mode, is on the mount of the
//! primary. A check-in is one transaction over the repository and the database of the working directory, which is
//! elsewhere, and so is the super-journal. The replica's copy is cloned, and served by Datasette.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::{
    Cluster, Ended, Node, Service, Stage, Web, assert_agreement, await_same_position, free_port,
    program_answers, python_packages, run_to_end, sqlite3, until_some,
};

const LIMIT: Duration = Duration::from_secs(120);
/// For a command that others come in between of.
const PATIENCE: Duration = Duration::from_secs(30);
const REPOSITORY: &str = "project.fossil";
/// Working directories that check in at the same time, each on a branch of its own.
const BRANCHES: usize = 3;
/// Check-ins of each.
const CHECK_INS: usize = 8;
/// Everything that is in a repository, in an order that does not depend on where it is.
const ARTIFACTS: &str = "SELECT group_concat(uuid) FROM (SELECT uuid FROM blob ORDER BY uuid)";
const EVENTS: &str = "SELECT count(*) FROM event WHERE type = 'ci'";

/// Where Fossil runs: a home of its own, and working directories outside of the mounts.
struct Desk<'a> {
    stage: &'a Stage,
    home: PathBuf,
}

impl<'a> Desk<'a> {
    fn new(stage: &'a Stage) -> Desk<'a> {
        let home = stage.directory().join("home");
        fs::create_dir(&home).expect("the directory of a stage is ours");
        Desk { stage, home }
    }

    fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("fossil");
        command
            .args(arguments)
            .current_dir(directory)
            .env("HOME", &self.home)
            .env("USER", "ann");
        command
    }

    fn try_run(&self, directory: &Path, arguments: &[&str]) -> Ended {
        run_to_end(self.stage, self.command(directory, arguments))
    }

    /// Runs a command, again while somebody else writes: Fossil reads before it writes in a transaction, so SQLite cannot
    /// let it wait, on any file system.
    #[track_caller]
    fn run(&self, directory: &Path, arguments: &[&str]) -> String {
        let what = format!("fossil {arguments:?} meets nobody else");
        let ended = until_some(PATIENCE, &what, || {
            let ended = self.try_run(directory, arguments);
            let locked = !ended.status.success() && ended.output.contains("database is locked");
            (!locked).then_some(ended)
        });
        assert!(
            ended.status.success(),
            "fossil {arguments:?}: {}",
            ended.output
        );
        ended.output
    }

    /// A working directory of the repository.
    #[track_caller]
    fn check_out(&self, name: &str, repository: &str) -> PathBuf {
        let directory = self.stage.directory().join(name);
        fs::create_dir(&directory).expect("the directory of a stage is ours");
        self.run(&directory, &["open", repository]);
        directory
    }

    /// Edits files and checks them in, over and over, with what else people do in between.
    fn work(&self, number: usize, repository: &str) {
        let directory = self.check_out(&format!("work{number}"), repository);
        let branch = format!("branch{number}");
        for change in 0..CHECK_INS {
            let lines: String = (0..change * 700 + 1)
                .map(|line| format!("{line} of {branch}\n"))
                .collect();
            fs::write(directory.join(format!("notes{number}")), lines)
                .and_then(|()| fs::write(directory.join(format!("new{number}-{change}")), "x"))
                .expect("the working directory is ours");
            self.run(&directory, &["addremove"]);
            let comment = format!("change {change}");
            let mut check_in = vec!["commit", "--no-warnings", "-m", &comment];
            if change == 0 {
                check_in.extend(["--branch", &branch]);
            }
            self.run(&directory, &check_in);
        }
        self.run(
            &directory,
            &["tag", "add", &format!("done{number}"), &branch],
        );
        self.run(
            &directory,
            &["ticket", "add", "title", &format!("ticket {number}")],
        );
    }
}

#[test]
fn repository_on_the_primary_is_cloned_from_the_replica() {
    let installed = program_answers("fossil", "version");
    let Some(programs) = python_packages().filter(|_| installed) else {
        return;
    };
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    drive(&cluster, programs);
    cluster.stop();
}

fn drive(cluster: &Cluster, programs: &Path) {
    let (primary, replica) = (&cluster.primary, cluster.replica());
    let desk = Desk::new(&cluster.stage);
    let (here, there) = (path_of(primary), path_of(replica));
    desk.run(&desk.home, &["init", &here]);
    let journal = sqlite3(&primary.database(REPOSITORY), "PRAGMA journal_mode");
    assert_eq!(journal.as_deref(), Ok("delete"));
    await_same_position(primary, replica, REPOSITORY);
    let (service, datasette) = serve(&cluster.stage, programs, &there);
    assert_eq!(check_ins(&datasette), 1);

    thread::scope(|scope| {
        for number in 0..BRANCHES {
            let (desk, here) = (&desk, &here);
            scope.spawn(move || desk.work(number, here));
        }
    });
    let position = await_same_position(primary, replica, REPOSITORY);
    let expected = (1 + BRANCHES * CHECK_INS) as u64;
    assert!(
        position.txid > expected,
        "each check-in is a transaction: {position}"
    );
    // The connections of this process were open all the time.
    assert_eq!(check_ins(&datasette), expected);

    is_refused_on_the_replica(&desk, &there);
    // The clone is made by a protocol of Fossil's own, and is checked artifact by artifact.
    let clone = cluster.stage.directory().join("clone.fossil");
    let clone = clone.to_str().expect("a path in UTF-8");
    desk.run(
        &desk.home,
        &["clone", "--no-open", &format!("file://{there}"), clone],
    );
    desk.run(&desk.home, &["test-integrity", "-R", clone]);
    desk.run(&desk.home, &["test-integrity", "-R", &there]);
    let of = |database: &Path| sqlite3(database, ARTIFACTS).expect("a repository can be read");
    let artifacts = of(&primary.database(REPOSITORY));
    assert_eq!(of(Path::new(clone)), artifacts);

    assert_agreement(cluster, REPOSITORY);
    service.stop();
}

fn path_of(node: &Node) -> String {
    let path = node.database(REPOSITORY);
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn serve(stage: &Stage, programs: &Path, repository: &str) -> (Service, Web) {
    let port = free_port();
    let mut command = Command::new(programs.join("datasette"));
    command.args(["serve", repository, "--port", &port.to_string()]);
    let service = Service::start(stage, "datasette", port, command);
    (service, Web::new(port))
}

/// The number of check-ins, as Datasette shows it.
#[track_caller]
fn check_ins(datasette: &Web) -> u64 {
    let sql = EVENTS.replace(' ', "+").replace('=', "%3D");
    let rows = datasette.get(&format!("/project.json?sql={sql}&_shape=arrayfirst"));
    rows.json()[0].as_u64().expect("a number")
}

fn is_refused_on_the_replica(desk: &Desk<'_>, repository: &str) {
    let ticket = ["ticket", "add", "title", "lost", "-R", repository];
    let ended = desk.try_run(&desk.home, &ticket);
    assert!(!ended.status.success(), "{}", ended.output);
    assert!(
        ended
            .output
            .contains("attempt to write a readonly database"),
        "{}",
        ended.output
    );
}
