//! A third process, no more than a pair of eyes: if the guard itself is killed, and its worker with it, nobody would tell
//! the kernel that no answer will come from the mount. The watcher does (it aborts the FUSE connection): no runtime, no
//! thread, nothing but system calls.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::connection::Connection;
use crate::parent::end_with_parent;

/// The name of the hidden command.
pub(crate) const COMMAND: &str = "guard-mount";

/// What the guard says before it ends in order.
const DONE: &[u8] = b"\0";

/// The guard's side. Dropped, the watcher ends and lets the connection be.
#[derive(Debug)]
pub(super) struct Watcher {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Watcher {
    /// Starts it. To be called on the thread that lives as long as the guard: its end is what the watcher waits for.
    pub(super) fn start() -> anyhow::Result<Watcher> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        end_with_parent(&mut command, Signal::SIGTERM);
        let mut child = command.spawn().context("start the watcher of the mount")?;
        let orders = child.stdin.take();
        Ok(Watcher { child, orders })
    }

    /// From now on this connection is to be watched.
    pub(super) fn watch(&mut self, connection: &Connection) -> io::Result<()> {
        match &mut self.orders {
            Some(orders) => orders.write_all(&encode(connection)),
            None => Ok(()),
        }
    }

    /// Has the connection aborted, and waits for that.
    pub(super) fn abort(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(mut orders) = self.orders.take() {
            // If it is gone already there is nothing to say.
            let _ = orders.write_all(DONE);
        }
        let _ = self.child.wait();
    }
}

/// The number, a space, the directory, a NUL.
fn encode(connection: &Connection) -> Vec<u8> {
    let mut bytes = format!("{} ", connection.number).into_bytes();
    bytes.extend_from_slice(connection.dir.as_os_str().as_bytes());
    bytes.push(0);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Connection> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let number = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    Some(Connection {
        number,
        dir: PathBuf::from(OsStr::from_bytes(&bytes[space + 1..])),
    })
}

/// Waits until the guard is done, or dead.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut ends = SigSet::empty();
    // SIGTERM is what the kernel sends when the guard dies; the others are meant for the guard alone.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
    let mut input = Vec::new();
    loop {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let (signalled, spoken) = (ready(&fds[0]), ready(&fds[1]));
        if signalled
            && signals
                .read_signal()?
                .is_some_and(|signal| signal.ssi_signo == Signal::SIGTERM as u32)
        {
            return Ok(end(&input));
        }
        if spoken {
            let mut bytes = [0; 512];
            match stdin.lock().read(&mut bytes)? {
                0 => return Ok(end(&input)),
                n => input.extend_from_slice(&bytes[..n]),
            }
            if is_done(&input) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// An empty order is the last one.
fn is_done(input: &[u8]) -> bool {
    input == DONE || input.ends_with(&[0, 0])
}

fn end(input: &[u8]) -> ExitCode {
    let order = input
        .split(|&byte| byte == 0)
        .filter_map(decode)
        .next_back();
    if let Some(connection) = order.filter(Connection::is_still_mounted) {
        connection.abort();
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_pipe() {
        let order = Connection {
            number: 47,
            dir: PathBuf::from("/mnt/with a space"),
        };
        let bytes = encode(&order);
        assert!(!is_done(&bytes));
        let read = bytes
            .split(|&byte| byte == 0)
            .filter_map(decode)
            .next_back();
        assert_eq!(read, Some(order));
        assert!(is_done(&[bytes, DONE.to_vec()].concat()));
        assert!(is_done(DONE));
    }
}
