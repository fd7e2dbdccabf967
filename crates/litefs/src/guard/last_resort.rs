//! What the guard does when nothing else helps: at the deadline of a worker that has not renewed it, and at its own end.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::link::DEVICE;
use super::revoke::revoke;
use super::run::Guard;

/// How long a worker that was killed may take to end before its logs are revoked.
const DEATH: Duration = Duration::from_millis(500);

impl Guard {
    /// Nobody may commit any more, and the worker has not said that nobody does. `own`: it was the worker's deadline, and
    /// not that of one before it.
    pub(super) fn expire(&mut self, own: bool) {
        self.listen();
        self.fence.close();
        if !own && self.fence.still_open().is_empty() {
            return;
        }
        if let Some(worker) = &self.worker {
            eprintln!("ERROR: guard: the node has not renewed its lease in time and is killed");
            worker.signal(Signal::SIGKILL);
            // Who revokes must be the only one who reads the device.
            self.await_death();
        }
        for db in self.revoke(self.fence.still_open()) {
            eprintln!("WARN: guard: {db}: a transaction did not end: its connection was cut off");
            self.fence.note_revoked(db);
        }
    }

    /// Takes the logs of these databases away from whoever has them open; returns the databases for which it succeeded.
    fn revoke(&self, logs: Vec<(String, Option<BorrowedFd<'_>>)>) -> Vec<String> {
        let Some(device) = self.kept.get(DEVICE) else {
            return Vec::new();
        };
        let revoke_one = |(db, wal): (String, Option<BorrowedFd<'_>>)| match revoke(device, wal?) {
            Ok(()) => Some(db),
            Err(error) => {
                eprintln!("ERROR: guard: {db}: its log cannot be revoked: {error}");
                None
            }
        };
        logs.into_iter().filter_map(revoke_one).collect()
    }

    /// Waits until a worker that was killed reads the device no more. Its status is left to be taken.
    fn await_death(&mut self) {
        let Some(worker) = &self.worker else { return };
        let deadline = Instant::now() + DEATH;
        let pid = worker.pid;
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        while matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
            && Instant::now() < deadline
        {
            // SIGCHLD is the event.
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(10u8));
        }
    }

    /// Nobody will serve the mount any more: its callers get errors. It stays, dead, so that nobody takes the bare
    /// directory for an empty one.
    pub(super) fn give_up(&mut self) {
        // Locks go with this process.
        self.fence.close();
        self.revoke(self.fence.logs());
        if self.connection.take().is_some() {
            self.watcher.abort();
        }
        self.fence.clear();
        self.kept.clear();
    }

    /// The same for a stop: the mount goes.
    pub(super) fn take_mount_down(&mut self) {
        if let Some(connection) = &self.connection
            && connection.is_still_mounted()
        {
            let dir = connection.dir.clone();
            self.give_up();
            let _ = umount2(&dir, MntFlags::MNT_DETACH);
        }
    }
}
