//! The guard's own process: no runtime, no thread, nothing but system calls.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

/// What the node says before it ends in order.
pub(super) const DONE: &[u8] = b"\0";

/// Where the kernel lists the FUSE connections.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// How often to look whether the node is ending. The last of its threads to end gives back its memory, and with it
/// mappings of files in its own mount: the kernel waits there for what is still to be written, before any signal is sent
/// or pipe closed.
const LOOK_EVERY_MS: u16 = 500;

/// Of the flags of a process, which `/proc/PID/stat` shows: it is ending.
const PF_EXITING: u32 = 4;

/// Which mount to guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) connection: u64,
    pub(super) dir: PathBuf,
}

impl Order {
    /// The connection, a space, the directory, a NUL.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{} ", self.connection).into_bytes();
        bytes.extend_from_slice(self.dir.as_os_str().as_bytes());
        bytes.push(0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Order> {
        let space = bytes.iter().position(|&byte| byte == b' ')?;
        let connection = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        Some(Order {
            connection,
            dir: PathBuf::from(OsStr::from_bytes(&bytes[space + 1..])),
        })
    }
}

/// Waits until the node is done, or dead.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut ends = SigSet::empty();
    // SIGTERM is what the kernel sends when the node dies; the others are meant for the node alone.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
    let mut input = Vec::new();
    let node = getppid();
    loop {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, LOOK_EVERY_MS)? == 0 && is_ending(node) {
            return Ok(end(&input));
        }
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

/// Whether a process is on its way out, or gone.
fn is_ending(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// An empty order is the last one.
fn is_done(input: &[u8]) -> bool {
    input == DONE || input.ends_with(&[0, 0])
}

fn end(input: &[u8]) -> ExitCode {
    let order = input
        .split(|&byte| byte == 0)
        .filter_map(Order::decode)
        .next_back();
    if let Some(order) = order.filter(is_still_mounted) {
        abort(&order);
    }
    ExitCode::SUCCESS
}

/// The number may be another connection's by now.
fn is_still_mounted(order: &Order) -> bool {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let device = format!("0:{}", order.connection);
    let dir = order.dir.as_os_str().as_bytes();
    mounts.split(|&byte| byte == b'\n').any(|line| {
        let mut fields = line.split(|&byte| byte == b' ').skip(2);
        fields.next() == Some(device.as_bytes())
            && fields.nth(1).is_some_and(|mounted| same_path(mounted, dir))
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits; a path with one of these is taken to be
/// the same if the rest is.
fn same_path(mounted: &[u8], dir: &[u8]) -> bool {
    mounted == dir || (mounted.contains(&b'\\') && mounted.first() == dir.first())
}

/// Ends the connection: every request on it fails from now on. The mount stays, dead, so that nobody takes the bare
/// directory for an empty one.
fn abort(order: &Order) {
    let file = Path::new(CONNECTIONS)
        .join(order.connection.to_string())
        .join("abort");
    if fs::write(&file, "1").is_ok() {
        return;
    }
    // Usual in containers: the list is not mounted. It is for us, where nobody sees it.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let shown = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(None::<&str>, "/", None::<&str>, private, None::<&str>))
        .and_then(|()| {
            mount(
                Some("fusectl"),
                CONNECTIONS,
                Some("fusectl"),
                MsFlags::empty(),
                None::<&str>,
            )
        });
    if shown.is_ok() && fs::write(&file, "1").is_ok() {
        return;
    }
    // This aborts it, too; but if nobody has a file open the mount goes with it.
    let _ = umount2(&order.dir, MntFlags::MNT_FORCE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_is_not_ending_and_a_zombie_is() {
        assert!(!is_ending(nix::unistd::getpid()));
        let mut child = std::process::Command::new("true")
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

    #[test]
    fn an_order_survives_the_pipe() {
        let order = Order {
            connection: 47,
            dir: PathBuf::from("/mnt/with a space"),
        };
        let bytes = order.encode();
        assert!(!is_done(&bytes));
        assert_eq!(
            bytes
                .split(|&byte| byte == 0)
                .filter_map(Order::decode)
                .next_back(),
            Some(order)
        );
        assert!(is_done(&[bytes, DONE.to_vec()].concat()));
        assert!(is_done(DONE));
    }
}
