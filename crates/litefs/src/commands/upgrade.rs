//! `litefs upgrade`: has the running node replaced by the program that is in its place now. Its mount stays.

use std::fs::{File, TryLockError};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::UpgradeArgs;
use crate::config::Config;
use crate::node::Running;
use crate::say;

/// How long the new process may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the guard for it, and waits until the new process is up.
pub(crate) fn run(args: &UpgradeArgs) -> anyhow::Result<()> {
    let (config, _) = Config::load(args.config.as_deref(), !args.no_expand_env)?;
    let dir = &config.data.dir;
    if !is_in_use(dir)? {
        bail!("no node runs with the data directory {}", dir.display());
    }
    let before = Running::read(dir)?;
    if !before.resumable {
        bail!(
            "the node cannot be replaced while its mount stays: that takes root and a kernel since 6.9; stop it and start it again"
        );
    }
    let version = version_of(&before.program)?;
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    changes.add_watch(dir, AddWatchFlags::IN_MOVED_TO)?;
    kill(Pid::from_raw(before.guard), Signal::SIGUSR2).context("signal the guard of the node")?;
    let begun = Instant::now();
    let after = await_other(dir, &before, &changes)?;
    say(&format!(
        "replaced process {} ({}) by {} ({version}) in {:.1?}\n",
        before.worker,
        before.version,
        after.worker,
        begun.elapsed()
    ));
    Ok(())
}

/// Whether a node has the directory locked.
fn is_in_use(dir: &Path) -> anyhow::Result<bool> {
    let path = dir.join("lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

/// The program that is to be started must be one: before the node makes room for it.
fn version_of(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("version").output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} version: {}", program.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits until another process says that it is up.
fn await_other(dir: &Path, before: &Running, changes: &Inotify) -> anyhow::Result<Running> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Running::read(dir)?;
        if now.worker != before.worker {
            return Ok(now);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, left)? == 0 {
            return Err(anyhow!(
                "not replaced within {} s: see the log of the node",
                PATIENCE.as_secs()
            ));
        }
        changes.read_events()?;
    }
}
