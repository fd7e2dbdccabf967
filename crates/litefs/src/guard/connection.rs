//! A FUSE connection, as others than its daemon see it: whether it is still mounted, and how to end it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Where the kernel lists the FUSE connections.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// A mount and the number of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) dir: PathBuf,
}

impl Connection {
    /// Of the mount at `dir`.
    pub(super) fn of(dir: &Path) -> io::Result<Connection> {
        Ok(Connection {
            // The device number of a FUSE mount is the number of its connection.
            number: nix::sys::stat::minor(fs::metadata(dir)?.dev()),
            dir: dir.to_owned(),
        })
    }

    /// The number may be another connection's by now.
    pub(super) fn is_still_mounted(&self) -> bool {
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let device = format!("0:{}", self.number);
        let dir = self.dir.as_os_str().as_bytes();
        mounts.split(|&byte| byte == b'\n').any(|line| {
            let mut fields = line.split(|&byte| byte == b' ').skip(2);
            fields.next() == Some(device.as_bytes())
                && fields.nth(1).is_some_and(|mounted| same_path(mounted, dir))
        })
    }

    /// Ends the connection: every request on it fails from now on. The mount stays, dead, so that nobody takes the bare
    /// directory for an empty one.
    pub(super) fn abort(&self) {
        let file = Path::new(CONNECTIONS)
            .join(self.number.to_string())
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
        let _ = umount2(&self.dir, MntFlags::MNT_FORCE);
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits; a path with one of these is taken to be
/// the same if the rest is.
fn same_path(mounted: &[u8], dir: &[u8]) -> bool {
    mounted == dir || (mounted.contains(&b'\\') && mounted.first() == dir.first())
}
