//! Processes: finding what a test has started, waiting for an end, killing by id.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::until::until_some;

/// The environment variable that marks everything a stage starts, children of children included.
pub(crate) const TAG: &str = "LITEFS_TEST_STAGE";

/// How long a process that waits in the kernel may hold up one who looks at it.
const LOOK: Duration = Duration::from_millis(500);

/// How a process ended: its status and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output and standard error in the order they came.
    pub output: String,
}

/// The ids of the living processes that carry the tag `value`, or one that begins with it and a hyphen: the nodes of
/// a stage have tags of their own. Zombies are not counted: they have ended.
pub fn processes_tagged(value: &str) -> Vec<Pid> {
    let wanted = format!("{TAG}={value}");
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            environment(*pid).split(|byte| *byte == 0).any(|variable| {
                let rest = variable.strip_prefix(wanted.as_bytes());
                rest.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'-'))
            })
        })
        .map(Pid::from_raw)
        .collect()
}

/// The environment of a process; empty if it has ended meanwhile. One that waits in the kernel, for a mount that does not
/// answer, may hold up whoever looks at its memory: it is not waited for.
fn environment(pid: i32) -> Vec<u8> {
    let read = move || fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let waits = stat
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('D'));
    if !waits {
        return read();
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(read()));
    receiver.recv_timeout(LOOK).unwrap_or_default()
}

/// The child of `parent` whose first argument is `command`.
pub(crate) fn child_running(parent: u32, command: &str) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = children.split_whitespace();
    children
        .find(|child| {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(command.as_bytes())
        })
        .and_then(|child| child.parse().ok())
        .map(Pid::from_raw)
}

/// Whether a process has closed all its files: it is gone, or a zombie.
pub(crate) fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let dead = stat
        .rsplit_once(')')
        .is_none_or(|(_, fields)| fields.trim_start().starts_with(['Z', 'X']));
    // Its first thread may be gone before the others.
    let threads = fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    dead && threads <= 1
}

/// Kills what carries the tag `value`.
pub(crate) fn kill_tagged(value: &str) {
    signal_tagged(value, Signal::SIGKILL);
}

/// Sends `signal` to what carries the tag `value`.
pub(crate) fn signal_tagged(value: &str, signal: Signal) {
    for pid in processes_tagged(value) {
        // It may have ended since we looked.
        let _ = kill(pid, signal);
    }
}

/// Prints what the threads of the processes with the tag `value` wait for in the kernel: to see who blocks whom.
pub(crate) fn print_waits(value: &str) {
    for pid in processes_tagged(value) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.filter_map(Result::ok).map(|entry| entry.path()) {
            let text = |file: &str| fs::read_to_string(thread.join(file)).unwrap_or_default();
            let stack = text("stack");
            let calls: Vec<&str> = stack
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect();
            eprintln!("{pid} {:<16} {}", text("comm").trim(), calls.join(" < "));
        }
    }
}

/// Waits for the end of `child`.
///
/// # Panics
/// When it does not end within `deadline`.
#[track_caller]
pub fn wait_for(child: &mut Child, deadline: Duration, what: &str) -> ExitStatus {
    until_some(deadline, what, || {
        child.try_wait().expect("the process is our child")
    })
}

/// Sends `signal` to our `child`.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("process ids are small");
    kill(Pid::from_raw(pid), signal).expect("our child is there until we have waited for it");
}
