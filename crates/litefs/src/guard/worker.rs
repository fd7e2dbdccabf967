//! The worker's process, as the guard sees it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use crate::parent::end_with_parent;

/// The name of the hidden command. The number of the descriptor of its end of the socket follows, then the arguments
/// of `mount`.
pub(crate) const COMMAND: &str = "mount-worker";

/// Of the flags of a process, which `/proc/PID/stat` shows: it is ending.
const PF_EXITING: u32 = 4;

/// A child of the guard.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    /// When it was first seen on its way out.
    ending: Option<Instant>,
    /// It has closed its end of the socket.
    pub(super) silent: bool,
}

impl Worker {
    /// Starts `program`. To be called on the thread that lives as long as the guard: the worker ends with it.
    pub(super) fn start(program: &Path, args: &[OsString]) -> io::Result<Worker> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .arg(theirs.as_raw_fd().to_string())
            .args(args);
        end_with_parent(&mut command, Signal::SIGKILL);
        let inherited = theirs.as_raw_fd();
        let inherit = move || {
            // SAFETY: the descriptor is open in the child, which is a copy of the process in which `theirs` lives.
            let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(inherited) };
            fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::empty()))?;
            // The guard reads its signals from a descriptor, and has them blocked for that.
            SigSet::empty().thread_set_mask()?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor takes a lock.
        unsafe { command.pre_exec(inherit) };
        let child = command.spawn()?;
        drop(theirs);
        Ok(Worker {
            // The guard waits for any child of its own; a process id fits.
            pid: Pid::from_raw(child.id().cast_signed()),
            socket: ours,
            ending: None,
            silent: false,
        })
    }

    /// Sends it a signal. It is our child and was not waited for: the number is its own.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill(self.pid, signal);
    }

    /// For how long it has been seen on its way out. The last of its threads to end gives back its memory, and with it
    /// mappings of files in its own mount: the kernel waits there for what is still to be written, before it tells anybody.
    pub(super) fn ending_for(&mut self) -> Option<Duration> {
        if !is_ending(self.pid) {
            self.ending = None;
            return None;
        }
        Some(self.ending.get_or_insert_with(Instant::now).elapsed())
    }

    pub(super) fn socket(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a process is on its way out, or gone.
fn is_ending(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_runs_is_not_ending_and_a_zombie_is() {
        assert!(!is_ending(nix::unistd::getpid()));
        let mut child = Command::new("true")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("true runs");
        // Its end of the pipe is closed while it ends; it is a zombie until we wait for it.
        let mut output = child.stdout.take().expect("a pipe");
        output.read_to_end(&mut Vec::new()).expect("read a pipe");
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(is_ending(pid));
        child.wait().expect("our child");
        assert!(is_ending(pid), "nobody there");
    }
}
