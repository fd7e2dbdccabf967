//! The guard's life: one loop that waits for signals, the worker's words, and its deadline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::MsgFlags;
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::connection::Connection;
use super::fence::{Fence, Files};
use super::link::{DEVICE, TABLE};
use super::message::{Message, receive, send};
use super::restarts::Restarts;
use super::table::{NO_DEADLINE, Table, boottime};
use super::watcher::Watcher;
use super::worker::Worker;

/// How often to look whether the worker hangs on its way out: nothing tells that, see [`Worker::ending_for`].
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who takes longer than this to end hangs.
const STUCK: Duration = Duration::from_millis(500);

/// Runs workers with these arguments until one ends in order, or none comes up.
pub(crate) fn run(args: Vec<OsString>) -> anyhow::Result<ExitCode> {
    Guard::start(args)?.stay()
}

pub(super) struct Guard {
    program: PathBuf,
    args: Vec<OsString>,
    pub(super) watcher: Watcher,
    pub(super) signals: SignalFd,
    timer: TimerFd,
    table: Table,
    pub(super) worker: Option<Worker>,
    /// Workers that hang on their way out, until they have ended.
    lost: Vec<Pid>,
    /// When the next worker is to be started.
    next: Option<Instant>,
    started: u32,
    restarts: Restarts,
    /// The deadline that the timer is set to.
    armed: u64,
    /// The one that the worker found when it started: not its own.
    inherited: u64,
    /// What the next worker goes on with.
    pub(super) kept: BTreeMap<String, OwnedFd>,
    pub(super) fence: Fence,
    pub(super) connection: Option<Connection>,
    /// The worker has said that the node is up.
    ready: bool,
    /// The worker ends for a successor.
    leaving: bool,
    /// Somebody asked us to end.
    stopping: bool,
}

impl Guard {
    fn start(args: Vec<OsString>) -> anyhow::Result<Guard> {
        // The path, not the file: a successor is whatever is there then.
        let program = std::env::current_exe().context("find this program")?;
        let watcher = Watcher::start()?;
        let mut mask = SigSet::empty();
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
            Signal::SIGUSR2,
        ] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let mut guard = Guard {
            program,
            args,
            watcher,
            signals: SignalFd::with_flags(&mask, flags)?,
            timer: TimerFd::new(
                ClockId::CLOCK_BOOTTIME,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
            table: Table::create().context("make the table that guard and worker share")?,
            worker: None,
            lost: Vec::new(),
            next: None,
            started: 0,
            restarts: Restarts::default(),
            armed: NO_DEADLINE,
            inherited: NO_DEADLINE,
            kept: BTreeMap::new(),
            fence: Fence::default(),
            connection: None,
            ready: false,
            leaving: false,
            stopping: false,
        };
        // Each open database costs descriptors here.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        guard.start_worker()?;
        // What was touched stays: a machine short of memory must not keep the guard from fencing. Without the privilege
        // it is as good as any other process.
        let lock = MlockAllFlags::MCL_CURRENT
            | MlockAllFlags::MCL_FUTURE
            | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
        let _ = mlockall(lock);
        Ok(guard)
    }

    fn stay(mut self) -> anyhow::Result<ExitCode> {
        loop {
            let (signalled, spoken, due) = self.wait()?;
            if spoken {
                self.listen();
            }
            if due {
                self.on_timer()?;
            } else if self.table.deadline() < self.armed {
                self.set_timer().context("set the timer of the deadline")?;
            }
            if signalled && let Some(end) = self.on_signals()? {
                return Ok(end);
            }
            if let Some(end) = self.look_at_worker()? {
                return Ok(end);
            }
            if self.next.is_some_and(|at| at <= Instant::now()) {
                self.next = None;
                self.start_worker()?;
            }
        }
    }

    /// A worker on its way out commits nothing any more; one that hangs there is as good as dead, and what it still waits
    /// for its successor answers.
    fn look_at_worker(&mut self) -> anyhow::Result<Option<ExitCode>> {
        if self.connection.is_none() {
            return Ok(None);
        }
        let Some(ending) = self.worker.as_mut().and_then(Worker::ending_for) else {
            return Ok(None);
        };
        self.listen();
        if self.connection.is_some() {
            self.fence.close();
        }
        if ending < STUCK {
            return Ok(None);
        }
        self.worker_ended(None)
    }

    /// Waits for something to happen: a signal, a word of the worker, a deadline.
    fn wait(&self) -> anyhow::Result<(bool, bool, bool)> {
        let until_next = self
            .next
            .map(|at| at.saturating_duration_since(Instant::now()));
        let watching = self.worker.as_ref().map(|_| LOOK_EVERY);
        let timeout = match until_next.or(watching) {
            Some(limit) => PollTimeout::try_from(limit + Duration::from_micros(999))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(worker) = self.worker.as_ref().filter(|worker| !worker.silent) {
            fds.push(PollFd::new(worker.socket(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the worker"),
        }
        let ready = |index: usize| {
            let fd: Option<&PollFd<'_>> = fds.get(index);
            fd.and_then(PollFd::revents)
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
        };
        Ok((ready(0), ready(2), ready(1)))
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        let worker = Worker::start(&self.program, &self.args);
        let worker = worker.with_context(|| format!("start {}", self.program.display()));
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) if self.started == 0 => return Err(error),
            // In the middle of an upgrade, maybe.
            Err(error) => {
                eprintln!("ERROR: guard: {error:#}");
                self.next = self
                    .restarts
                    .after_death(Instant::now())
                    .map(|pause| Instant::now() + pause);
                if self.next.is_none() {
                    self.give_up();
                    return Err(error);
                }
                return Ok(());
            }
        };
        // If it is dead already that is noticed soon.
        let _ = self.brief(&worker);
        self.worker = Some(worker);
        self.inherited = self.table.deadline();
        self.started += 1;
        self.ready = false;
        self.leaving = false;
        Ok(())
    }

    /// Tells a new worker what there is.
    fn brief(&mut self, worker: &Worker) -> std::io::Result<()> {
        let socket = worker.socket();
        let table = [self.table.as_fd()];
        send(socket, &Message::Keep(TABLE.into()), &table)?;
        for (name, file) in &self.kept {
            send(socket, &Message::Keep(name.clone()), &[file.as_fd()])?;
        }
        for (db, fenced) in self.fence.fenced() {
            let files = fenced.files();
            let message = Message::Locked {
                db: db.clone(),
                shm: files.shm.is_some(),
            };
            let descriptors: Vec<_> = [Some(&files.database), files.shm.as_ref()]
                .into_iter()
                .flatten()
                .map(|file| file.as_fd())
                .collect();
            send(socket, &message, &descriptors)?;
        }
        for db in self.fence.take_revoked() {
            send(socket, &Message::LetGo { db }, &[])?;
        }
        let before = self.started;
        send(socket, &Message::Go { before }, &[])
    }

    /// Hears what the worker has to say.
    pub(super) fn listen(&mut self) {
        while let Some(worker) = self.worker.as_mut().filter(|worker| !worker.silent) {
            match receive(worker.socket(), MsgFlags::MSG_DONTWAIT) {
                Ok(Some((message, descriptors))) => self.on_message(message, descriptors),
                Ok(None) => worker.silent = true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    worker.silent = true;
                    if error.kind() != std::io::ErrorKind::ConnectionReset {
                        eprintln!("ERROR: guard: {error}");
                    }
                }
            }
        }
    }

    fn on_message(&mut self, message: Message, descriptors: Vec<OwnedFd>) {
        match message {
            Message::Keep(name) => match descriptors.into_iter().next() {
                Some(file) => drop(self.kept.insert(name, file)),
                None => drop(self.kept.remove(&name)),
            },
            Message::Hold { db, shm, wal } => match Files::from_message(descriptors, shm, wal) {
                Some(files) => self.fence.hold(db, files),
                None => eprintln!("ERROR: guard: no descriptors left: {db} cannot be fenced"),
            },
            Message::LetGo { db } => self.fence.let_go(&db),
            Message::Mounted { connection, dir } => {
                let connection = Connection {
                    number: connection,
                    dir,
                };
                if let Err(error) = self.watcher.watch(&connection) {
                    eprintln!("ERROR: guard: the watcher is gone: {error}");
                }
                self.connection = Some(connection);
            }
            Message::Unmounted => {
                self.kept.clear();
                self.fence.clear();
                self.connection = None;
            }
            Message::Ready => self.ready = true,
            Message::Release { db } => self.fence.release(&db),
            Message::ReleaseAll => self.fence.release_all(),
            // It is looked at whenever the guard wakes up.
            Message::Deadline => {}
            Message::Leaving => self.leaving = true,
            Message::Leave | Message::Go { .. } | Message::Locked { .. } => {}
        }
    }

    /// Arms the timer for the deadline that the table says.
    fn set_timer(&mut self) -> nix::Result<()> {
        self.armed = self.table.deadline();
        match self.armed {
            NO_DEADLINE => self.timer.unset(),
            deadline => {
                let at = i64::try_from(deadline.max(1)).unwrap_or(i64::MAX);
                self.timer.set(
                    Expiration::OneShot(TimeSpec::nanoseconds(at)),
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )
            }
        }
    }

    /// The deadline that was known has come; it may have been extended.
    fn on_timer(&mut self) -> anyhow::Result<()> {
        // Read, so that it does not wake us again. Nothing to read: it was set anew meanwhile.
        let _ = self.timer.wait();
        let deadline = self.table.deadline();
        if deadline == NO_DEADLINE || Duration::from_nanos(deadline) > boottime() {
            return self.set_timer().context("set the timer of the deadline");
        }
        // The next one is another worker's.
        self.table.set_deadline(NO_DEADLINE);
        self.armed = NO_DEADLINE;
        self.expire(deadline != self.inherited);
        Ok(())
    }

    fn on_signals(&mut self) -> anyhow::Result<Option<ExitCode>> {
        while let Some(info) = self.signals.read_signal()? {
            let end = match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGUSR2) => {
                    self.upgrade();
                    None
                }
                Ok(Signal::SIGINT) => self.stop(Signal::SIGINT),
                Ok(_) => self.stop(Signal::SIGTERM),
                Err(_) => None,
            };
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }

    /// A request to end: the worker's to follow.
    fn stop(&mut self, signal: Signal) -> Option<ExitCode> {
        self.stopping = true;
        if let Some(worker) = &self.worker {
            worker.signal(signal);
            return None;
        }
        eprintln!(
            "ERROR: no node was running: what applications committed since it died is captured at the next start"
        );
        self.take_mount_down();
        Some(ExitCode::FAILURE)
    }

    /// Has the worker replaced by the program that is in its place now.
    fn upgrade(&mut self) {
        let resumable = self.kept.contains_key(DEVICE) && self.ready && !self.stopping;
        match &self.worker {
            Some(worker) if resumable => {
                let _ = send(worker.socket(), &Message::Leave, &[]);
            }
            _ => eprintln!(
                "ERROR: the node cannot be replaced now: it is not up, or not mounted by root"
            ),
        }
    }

    fn reap(&mut self) -> anyhow::Result<Option<ExitCode>> {
        let worker = self.worker.as_ref().map(|worker| worker.pid);
        for pid in self.lost.clone().into_iter().chain(worker) {
            let status = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => status,
                Ok(_) => continue,
                Err(errno) => return Err(errno).context("wait for the worker"),
            };
            self.lost.retain(|lost| *lost != pid);
            if Some(pid) == worker {
                return self.worker_ended(Some(status));
            }
        }
        Ok(None)
    }

    /// `status`: how; `None` if it hangs on its way out.
    fn worker_ended(&mut self, status: Option<WaitStatus>) -> anyhow::Result<Option<ExitCode>> {
        self.listen();
        self.fence.close();
        let Some(worker) = self.worker.take() else {
            return Ok(None);
        };
        if status.is_none() {
            worker.signal(Signal::SIGKILL);
            self.lost.push(worker.pid);
        }
        let code = match status {
            Some(WaitStatus::Exited(_, code)) => Some(code),
            _ => None,
        };
        let how = match status {
            Some(WaitStatus::Exited(_, code)) => format!("ended with status {code}"),
            Some(WaitStatus::Signaled(_, signal, _)) => format!("was killed by {signal}"),
            _ => "hangs on its way out".to_owned(),
        };
        if self.stopping || self.connection.is_none() {
            return Ok(Some(self.end(code, &how)));
        }
        let resumable = self.kept.contains_key(DEVICE);
        // By itself and with an error that it has told: not for the first time, but as the successor of one that was up.
        let failed = code.is_some() && (self.ready || self.started == 1) && !self.leaving;
        if !resumable || failed {
            return Ok(Some(self.end(code, &how)));
        }
        if self.leaving {
            return self.start_worker().map(|()| None);
        }
        match self.restarts.after_death(Instant::now()) {
            Some(pause) => {
                eprintln!(
                    "ERROR: the node {how}: applications wait, another one is started on the same mount"
                );
                self.next = Some(Instant::now() + pause);
                Ok(None)
            }
            None => {
                eprintln!("ERROR: the node {how}, once more within a minute: given up");
                self.give_up();
                Ok(Some(ExitCode::FAILURE))
            }
        }
    }

    /// The end of the last worker is ours.
    fn end(&mut self, code: Option<i32>, how: &str) -> ExitCode {
        if self.stopping {
            self.take_mount_down();
        } else {
            self.give_up();
        }
        match code {
            Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            None => {
                eprintln!("ERROR: the node {how}");
                ExitCode::FAILURE
            }
        }
    }
}
