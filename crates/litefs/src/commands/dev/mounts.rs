//! What is mounted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, umount2};

/// Whether something is mounted at `path`, an absolute path without symbolic links. A mount of a dead process
/// counts too.
pub(super) fn is_mounted(path: &Path) -> bool {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).any(|point| point == path.as_os_str().as_bytes())
}

/// The mount points of a `mountinfo` file: the fifth field of each line (proc(5)).
fn mount_points(table: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(unescape)
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| after.get(..3)).flatten();
        let code =
            code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        (bytes, rest) = match code {
            Some(code) => ([bytes, vec![code]].concat(), &after[3..]),
            None => ([bytes, vec![byte]].concat(), after),
        };
    }
    bytes
}

/// Takes a mount away, now or when nobody uses it any more.
pub(super) fn unmount(path: &Path) {
    // What is left is seen by `is_mounted`.
    if umount2(path, MntFlags::MNT_DETACH).is_err() {
        let arguments = [OsStr::new("-u"), OsStr::new("-z"), path.as_os_str()];
        let _ = Command::new("fusermount3")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mount_points_with_blanks() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 22 0:33 / /tmp/a\\040b\\134c rw - fuse litefs rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [b"/".to_vec(), b"/tmp/a b\\c".to_vec()]);
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/proc/self")));
    }
}
