//! The kernel's mount table.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// The mount points at or below `directory`, the innermost last.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table is readable");
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|escaped| PathBuf::from(unescape(escaped)))
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Whether something is mounted on exactly `point`.
pub fn is_mounted(point: &Path) -> bool {
    mounts_below(point).iter().any(|mounted| mounted == point)
}

/// Takes `point` out of the tree, whatever still uses it. Nothing mounted there is fine.
pub fn unmount(point: &Path) {
    while is_mounted(point) {
        match umount2(point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(error) => {
                eprintln!("unmount {}: {error}", point.display());
                return;
            }
        }
    }
}

/// Ends a FUSE connection, so that whoever waits in it gets an error instead of waiting for ever.
pub(crate) fn abort(point: &Path) {
    // The answer is EBUSY while files are open, but the connection is aborted all the same.
    let _ = umount2(point, MntFlags::MNT_FORCE);
}

/// The mount table writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let octal = (byte == b'\\').then(|| {
            bytes
                .clone()
                .take(3)
                .fold(0u32, |n, digit| n * 8 + u32::from(digit & 7))
        });
        match octal.and_then(|code| u8::try_from(code).ok()) {
            Some(code) => {
                plain.push(code);
                bytes.nth(2);
            }
            None => plain.push(byte),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_mount_points_are_decoded() {
        assert_eq!(unescape("/tmp/a\\040b\\134c"), "/tmp/a b\\c");
    }

    #[test]
    fn the_root_is_mounted_and_a_file_is_not() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/proc/self/mountinfo")));
    }
}
