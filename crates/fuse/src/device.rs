//! Opening /dev/fuse and mounting it ourselves, as root, so that the descriptor is ours to keep.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::statvfs::statvfs;

use crate::error::Error;

/// How the mount shows in /proc/mounts.
pub(crate) const SOURCE: &str = "litefs";
const FS_TYPE: &str = "fuse.litefs";

/// Checks the mount point; clears the mount of a process that died there. Returns its absolute path.
pub(crate) fn prepare(dir: &Path, clear: bool) -> Result<PathBuf, Error> {
    let refuse = |reason: String| Error::MountPoint {
        dir: dir.to_owned(),
        reason,
    };
    match statvfs(dir) {
        Err(Errno::ENOTCONN) if clear => {
            tracing::warn!(dir = %dir.display(), "clearing the mount of a process that died");
            umount2(dir, MntFlags::MNT_DETACH).map_err(|errno| Error::Unmount {
                dir: dir.to_owned(),
                source: errno.into(),
            })?;
        }
        Err(Errno::ENOTCONN) => {
            return Err(refuse(
                "has the mount of a process that died; unmount it first".into(),
            ));
        }
        Err(Errno::ENOENT) => {
            std::fs::create_dir_all(dir)
                .map_err(|error| refuse(format!("cannot be created: {error}")))?;
        }
        Err(errno) => return Err(refuse(errno.desc().to_lowercase())),
        Ok(_) => {}
    }
    if !dir.is_dir() {
        return Err(refuse("is not a directory".into()));
    }
    let absolute = dir
        .canonicalize()
        .map_err(|error| refuse(error.to_string()))?;
    if is_mounted(&absolute) {
        return Err(refuse(
            "something is mounted there already; unmount it, or choose another fuse.dir".into(),
        ));
    }
    let occupied = std::fs::read_dir(&absolute)
        .map_err(|error| refuse(error.to_string()))?
        .next()
        .is_some();
    if occupied {
        return Err(refuse(
            "is not empty: the mount would hide what is there".into(),
        ));
    }
    Ok(absolute)
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .any(|mounted| unescape(mounted) == dir.as_os_str().as_encoded_bytes())
}

/// /proc/mounts writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(|_| first == b'\\')
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Opens the FUSE device.
pub(crate) fn open() -> Result<OwnedFd, Error> {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    let file = opened.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => {
                "it does not exist; load the fuse module, or start the container with --device /dev/fuse"
            }
            io::ErrorKind::PermissionDenied => "permission denied; run as root, or with fusermount3 installed",
            _ => "the kernel refuses",
        };
        Error::Device { hint, source }
    })?;
    Ok(file.into())
}

/// Mounts `device` on `dir`. The INIT request is waiting on the device afterwards.
pub(crate) fn mount(device: &OwnedFd, dir: &Path, allow_other: bool) -> Result<(), Error> {
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        nix::unistd::geteuid(),
        nix::unistd::getegid(),
    );
    if allow_other {
        options.push_str(",allow_other");
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(
        Some(SOURCE),
        dir,
        Some(FS_TYPE),
        flags,
        Some(options.as_str()),
    )
    .map_err(|errno| {
        let hint = match errno {
            Errno::EPERM => "not permitted; in a container it needs --cap-add SYS_ADMIN",
            Errno::ENODEV => "this kernel has no FUSE",
            _ => "the kernel refuses",
        };
        Error::Mount {
            dir: dir.to_owned(),
            hint,
            source: errno.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_escaped_paths_of_proc_mounts() {
        assert_eq!(unescape("/mnt/a\\040b\\134c"), b"/mnt/a b\\c");
        assert_eq!(unescape("/mnt/plain"), b"/mnt/plain");
        assert_eq!(unescape("/mnt/x\\9"), b"/mnt/x\\9");
    }

    #[test]
    fn a_mount_point_must_be_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(prepare(dir.path(), true).is_ok());
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let occupied = prepare(dir.path(), true).unwrap_err().to_string();
        assert!(occupied.contains("not empty"), "{occupied}");
        let file = prepare(&dir.path().join("file"), true)
            .unwrap_err()
            .to_string();
        assert!(file.contains("is not a directory"), "{file}");
        let busy = prepare(Path::new("/proc"), true).unwrap_err().to_string();
        assert!(busy.contains("mounted there already"), "{busy}");
    }
}
