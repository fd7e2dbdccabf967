//! Processes that end with this one.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{mpsc, watch};

use crate::parent::end_with_parent;

/// This program, to be run as another process. If this process dies, that one gets SIGTERM.
///
/// It has a process group of its own: a Ctrl-C at the terminal is for this process alone, which then ends the
/// others in order. It must be spawned by a thread that lives as long as this process.
pub(super) fn this_program() -> anyhow::Result<Command> {
    let program: PathBuf = std::env::current_exe().context("find this program")?;
    let mut command = std::process::Command::new(program);
    end_with_parent(&mut command, Signal::SIGTERM);
    let mut command = Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// A running process. A task waits for its end, so that it never stays a zombie.
#[derive(Debug)]
pub(super) struct Process {
    signals: mpsc::UnboundedSender<Signal>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts a command whose standard output is piped.
    pub(super) fn spawn(mut command: Command) -> anyhow::Result<(Process, ChildStdout)> {
        let mut child = command
            .spawn()
            .context("start another process of this program")?;
        let stdout = child.stdout.take().context("no pipe from the process")?;
        let (signals, requested) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(None);
        tokio::spawn(attend(child, requested, end));
        Ok((Process { signals, ended }, stdout))
    }

    /// Sends a signal, unless the process has ended.
    pub(super) fn signal(&self, signal: Signal) {
        // The task is gone only if the process is.
        let _ = self.signals.send(signal);
    }

    /// Waits for the end; `None` if nobody could wait for it.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }
}

/// Waits for the process, and signals it meanwhile: nobody else may, for once it is waited for its id can be
/// another process's.
async fn attend(
    mut child: Child,
    mut requested: mpsc::UnboundedReceiver<Signal>,
    end: watch::Sender<Option<ExitStatus>>,
) {
    loop {
        tokio::select! {
            status = child.wait() => {
                end.send_replace(status.ok());
                return;
            }
            Some(signal) = requested.recv() => {
                if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
                    // It may have ended in this moment.
                    let _ = kill(Pid::from_raw(id), signal);
                }
            }
        }
    }
}
