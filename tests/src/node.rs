//! One node: a `litefs mount` process with its own mount point, data directory and port.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::api::Api;
use crate::binary::litefs_binary;
use crate::consul::in_host;
use crate::listener::free_port;
use crate::mount::{abort, is_mounted, unmount};
use crate::network::Host;
use crate::pos::Pos;
use crate::process::{
    Ended, TAG, child_running, has_ended, kill_tagged, print_waits, processes_tagged, signal,
    signal_tagged, wait_for,
};
use crate::settings::{LeaseSettings, Settings};
use crate::shared_table::set_deadline;
use crate::stage::Stage;
use crate::tool::litefs;
use crate::until::until;

/// From the start of the process to an answer of its HTTP interface.
const READY: Duration = Duration::from_secs(20);
/// From SIGTERM or a refusal to the end of the process.
const ENDED: Duration = Duration::from_secs(20);
/// How much of a node's log a failed test shows.
const LOG_LINES: usize = 80;

/// A node of a test. Dropping it kills it and takes its mount away.
#[derive(Debug)]
pub struct Node {
    name: String,
    home: PathBuf,
    tag: String,
    settings: Settings,
    host: Option<Host>,
    process: Option<Child>,
}

impl Node {
    /// A primary, not started.
    pub fn primary(stage: &Stage, name: &str) -> Node {
        Node::new(stage, name, None)
    }

    /// A replica of `primary`, not started.
    pub fn replica(stage: &Stage, name: &str, primary: &Node) -> Node {
        Node::new(stage, name, Some(primary.settings.port))
    }

    fn new(stage: &Stage, name: &str, primary_port: Option<u16>) -> Node {
        let mut node = Node::member(stage, name, None, LeaseSettings::Static);
        let settings = &mut node.settings;
        // With a static lease it is the primary's on every node.
        settings.hostname = "primary.test".to_owned();
        settings.candidate = primary_port.is_none();
        settings.advertised_port = primary_port.unwrap_or(settings.port);
        node
    }

    /// A candidate with this lease, not started: on the loopback of this machine, or in a host of a network. Its
    /// host name is `name`.
    pub fn member(stage: &Stage, name: &str, host: Option<&Host>, lease: LeaseSettings) -> Node {
        let home = stage.directory().join(name);
        let port = free_port();
        let settings = Settings {
            mount: home.join("mount"),
            data: home.join("data"),
            listen: host.map_or(Ipv4Addr::LOCALHOST, |_| Ipv4Addr::UNSPECIFIED),
            port,
            hostname: name.to_owned(),
            advertised_address: host.map_or(Ipv4Addr::LOCALHOST, Host::address),
            advertised_port: port,
            candidate: true,
            lease,
            passthrough: true,
            retention: None,
            retention_monitor_interval: None,
        };
        fs::create_dir_all(&settings.mount).expect("the directory of a stage is ours");
        Node {
            name: name.to_owned(),
            home,
            tag: format!("{}-{name}", stage.tag()),
            settings,
            host: host.cloned(),
            process: None,
        }
    }

    /// What its configuration file will say at the next start.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// What its configuration file says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The mount point.
    pub fn mount(&self) -> &Path {
        &self.settings.mount
    }

    /// The database `name` as applications see it.
    pub fn database(&self, name: &str) -> PathBuf {
        self.settings.mount.join(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client of its HTTP interface. It comes from the node's own host: what is cut between hosts is no matter.
    pub fn api(&self) -> Api {
        in_host(self.host.as_ref(), || Api::new(self.settings.port))
    }

    /// Runs the `litefs` program to its end in the node's host, with `-url` of the node's API as the last arguments.
    #[track_caller]
    pub fn command_line(&self, arguments: &[&str]) -> Ended {
        let url = self.api().url().to_owned();
        let all = [arguments, &["-url", &url]].concat();
        in_host(self.host.as_ref(), || litefs(&all))
    }

    /// Whether its process was started and has not been ended.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The position of a database, as the mount shows it; nothing while there is no such database.
    ///
    /// # Panics
    /// If `X-pos` holds anything else than a position.
    #[track_caller]
    pub fn pos(&self, database: &str) -> Option<Pos> {
        self.read_pos(database).ok()
    }

    /// As [`Node::pos`], with the reason why there is none.
    #[track_caller]
    pub fn read_pos(&self, database: &str) -> io::Result<Pos> {
        let text = fs::read_to_string(self.database(&format!("{database}-pos")))?;
        Ok(Pos::parse(&text)
            .unwrap_or_else(|| panic!("{database}-pos of {} holds {text:?}", self.name)))
    }

    /// Prints what its threads wait for in the kernel.
    pub fn print_waits(&self) {
        print_waits(&self.tag);
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts it and does not wait.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} is running", self.name);
        let mut command = self.command(&[]);
        let child = in_host(self.host.as_ref(), || command.spawn());
        self.process = Some(child.expect("the litefs program runs"));
    }

    /// Waits until it answers and is mounted and, with a static lease, has its role.
    #[track_caller]
    pub fn await_ready(&mut self) {
        let (api, primary) = (self.api(), self.settings.candidate);
        let elected = self.settings.lease != LeaseSettings::Static;
        let what = format!("{} answers GET /info", self.name);
        until(READY, &what, || {
            self.assert_running();
            // The mount of a process that died is there, too, and cannot be listed. Between it and the new one there is
            // none, and the directory below can be: so listed first, then mounted.
            api.info()
                .is_some_and(|info| elected || info.is_primary == primary)
                && std::fs::read_dir(self.mount()).is_ok()
                && is_mounted(self.mount())
        });
    }

    /// Panics with its log if the process has ended by itself.
    #[track_caller]
    pub fn assert_running(&mut self) {
        let ended = self
            .process
            .as_mut()
            .and_then(|process| process.try_wait().expect("the process is our child"));
        assert!(
            ended.is_none(),
            "{} has ended by itself: {ended:?}\n{}",
            self.name,
            self.log()
        );
    }

    /// The id of its process that does the work: not of the guard, which was started.
    ///
    /// # Panics
    /// If it is not running.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let worker = self.worker().expect("the node is running");
        worker.as_raw().unsigned_abs()
    }

    /// The id of the guard.
    ///
    /// # Panics
    /// If it is not running.
    #[track_caller]
    pub fn guard_pid(&self) -> u32 {
        self.process.as_ref().expect("the node is running").id()
    }

    /// The process that does the work, if there is one now.
    pub fn worker(&self) -> Option<Pid> {
        let guard = self.process.as_ref()?.id();
        child_running(guard, "mount-worker")
    }

    /// Kills the process that does the work, and not its guard.
    #[track_caller]
    pub fn kill_worker(&self) {
        let worker = self.worker().expect("the node is running");
        kill(worker, Signal::SIGKILL).expect("it runs");
    }

    /// Lets the worker's right to commit end after a time, as the worker itself would that has a lease.
    #[track_caller]
    pub fn set_deadline(&self, after: Duration) {
        set_deadline(self.guard_pid(), after);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn await_end(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the node is running");
        wait_for(
            &mut process,
            ENDED,
            &format!("{} ends by itself", self.name),
        )
    }

    /// Ends it with SIGTERM, whatever its exit code: no mount and no process may be left.
    #[track_caller]
    pub fn terminate(&mut self) {
        signal(
            self.process.as_ref().expect("the node is running"),
            Signal::SIGTERM,
        );
        self.await_end();
        self.assert_gone();
    }

    /// Stops it as an operator would, and checks that it ends well: exit code 0, no mount, no process left.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the node is running");
        signal(&process, Signal::SIGTERM);
        let status = wait_for(
            &mut process,
            ENDED,
            &format!("{} ends after SIGTERM", self.name),
        );
        assert!(
            status.success(),
            "{} ended with {status} after SIGTERM\n{}",
            self.name,
            self.log()
        );
        self.assert_gone();
    }

    /// Neither a mount nor a process is left of it.
    #[track_caller]
    fn assert_gone(&self) {
        assert!(
            !is_mounted(self.mount()),
            "{} has left its mount",
            self.name
        );
        let left = processes_tagged(&self.tag);
        assert!(
            left.is_empty(),
            "{} has left processes: {left:?}",
            self.name
        );
    }

    /// Stops its process where it is: nothing that needs it gets an answer until [`Node::resume`].
    #[track_caller]
    pub fn pause(&self) {
        let worker = self.worker().expect("the node is running");
        kill(worker, Signal::SIGSTOP).expect("it runs");
    }

    /// Ends [`Node::pause`].
    #[track_caller]
    pub fn resume(&self) {
        let worker = self.worker().expect("the node is running");
        kill(worker, Signal::SIGCONT).expect("it runs");
    }

    /// Kills it as the kernel would, guard and all: no chance to clean up. The dead mount stays.
    #[track_caller]
    pub fn kill(&mut self) {
        let worker = self.worker();
        let mut process = self.process.take().expect("the node is running");
        process.kill().expect("our child can be killed");
        wait_for(&mut process, ENDED, &format!("{} dies", self.name));
        // The worker dies with its guard, in a moment.
        until(ENDED, &format!("{} is dead", self.name), || {
            processes_tagged(&self.tag).is_empty() && worker.is_none_or(has_ended)
        });
    }

    /// [`Node::pause`] for all its processes: nothing of the node runs until [`Node::resume_all`].
    pub fn pause_all(&self) {
        signal_tagged(&self.tag, Signal::SIGSTOP);
    }

    /// Ends [`Node::pause_all`].
    pub fn resume_all(&self) {
        signal_tagged(&self.tag, Signal::SIGCONT);
    }

    /// [`Node::kill`] for all its processes at once, as if its machine had died. A machine takes its applications with
    /// it: kill them before. With handles that are passthrough they could go on writing to files that nobody looks at
    /// any more. Whoever waits in the dead mount gets an error.
    #[track_caller]
    pub fn kill_all(&mut self) {
        let mut process = self.process.take().expect("the node is running");
        signal_tagged(&self.tag, Signal::SIGKILL);
        abort(&self.settings.mount);
        wait_for(&mut process, ENDED, &format!("{} dies", self.name));
    }

    /// Runs it where it should refuse to, and returns how it ended. Nothing may stay mounted.
    #[track_caller]
    pub fn refuse(&self, wrapper: &[&str]) -> Ended {
        let before = is_mounted(self.mount());
        let mut child = self.command(wrapper).spawn().expect("the program runs");
        let status = wait_for(
            &mut child,
            ENDED,
            &format!("{} ends by itself\n{}", self.name, self.log()),
        );
        assert_eq!(
            is_mounted(self.mount()),
            before,
            "{} has left its mount",
            self.name
        );
        Ended {
            status,
            output: self.log(),
        }
    }

    /// What it wrote to standard output and standard error since its last start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.home.join("litefs.yml")
    }

    /// Writes the configuration file and says how to start it, through `wrapper` if there is one.
    fn command(&self, wrapper: &[&str]) -> Command {
        fs::write(self.config_path(), self.settings.yaml())
            .expect("the directory of a stage is ours");
        self.command_as_configured(wrapper)
    }

    /// As [`Node::refuse`], with the configuration file `text`.
    #[track_caller]
    pub fn refuse_config(&self, text: &str) -> Ended {
        fs::write(self.config_path(), text).expect("the directory of a stage is ours");
        let mut child = self
            .command_as_configured(&[])
            .spawn()
            .expect("the program runs");
        let status = wait_for(&mut child, ENDED, &format!("{} ends by itself", self.name));
        assert!(
            !is_mounted(self.mount()),
            "{} has left its mount",
            self.name
        );
        Ended {
            status,
            output: self.log(),
        }
    }

    fn command_as_configured(&self, wrapper: &[&str]) -> Command {
        let log = File::create(self.log_path()).expect("the directory of a stage is ours");
        let mut words: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
        words.push(litefs_binary().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("mount")
            .arg("-config")
            .arg(self.config_path());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("duplicate a descriptor"))
            .stderr(log);
        // In the group of the test runner: Ctrl-C there is for the nodes too, and they unmount.
        command.env(TAG, &self.tag).env_remove("RUST_BACKTRACE");
        command
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_LINES);
            let tail: Vec<_> = log.lines().skip(skipped).collect();
            eprintln!(
                "--- {}, last lines of its log\n{}\n---",
                self.name,
                tail.join("\n")
            );
        }
        kill_tagged(&self.tag);
        if let Some(mut process) = self.process.take() {
            // A process that is killed while it waits for its own mount does not die before the mount does.
            abort(&self.settings.mount);
            let _ = process.wait();
        }
        unmount(&self.settings.mount);
    }
}
