//! The guard: a small process beside `litefs mount` that outlives it for a moment.
//!
//! A node is a client of its own mount. If it is killed while one of its threads waits for an answer that only the
//! node itself could give, the kernel waits with it for ever: the process cannot end, and whoever uses the mount
//! hangs. So somebody else must tell the kernel that no answer will come (abort the FUSE connection). The guard does
//! nothing but wait for that.

mod child;

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::parent::end_with_parent;

pub(crate) use child::run;

/// The name of the hidden command.
pub(crate) const COMMAND: &str = "guard-mount";

/// The node's side of the guard. Dropped, the guard ends.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Guard {
    /// Starts the guard. To be called on the thread that lives as long as the process: its end is what the guard
    /// waits for.
    pub(crate) fn start() -> anyhow::Result<Guard> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        end_with_parent(&mut command, Signal::SIGTERM);
        let mut child = command.spawn().context("start the guard of the mount")?;
        let orders = child.stdin.take();
        Ok(Guard { child, orders })
    }

    /// From now on the mount at `dir` is to be guarded.
    pub(crate) fn watch(&mut self, dir: &Path) -> io::Result<()> {
        // The device number of a FUSE mount is the number of its connection.
        let connection = nix::sys::stat::minor(std::fs::metadata(dir)?.dev());
        let order = child::Order {
            connection,
            dir: dir.to_owned(),
        };
        match &mut self.orders {
            Some(orders) => orders.write_all(&order.encode()),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut orders) = self.orders.take() {
            // If it is gone already there is nothing to say.
            let _ = orders.write_all(child::DONE);
        }
        let _ = self.child.wait();
    }
}
