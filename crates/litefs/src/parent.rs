//! Processes that end with the one that started them.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// The process that `command` starts gets `signal` when the *thread* that starts it ends, which must therefore live
/// as long as this process. It has a process group of its own: a Ctrl-C at the terminal is for this process alone.
pub(crate) fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes two system calls (prctl, getppid) and neither allocates nor
    // takes a lock.
    unsafe { command.pre_exec(move || end_with(parent, signal)) };
}

fn end_with(parent: Pid, signal: Signal) -> io::Result<()> {
    set_pdeathsig(signal)?;
    // It may have died before.
    if getppid() != parent {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}
