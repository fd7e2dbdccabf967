//! Making old handles fail.
//!
//! A passthrough handle goes on working without the daemon: what an application commits through it while the node may
//! not, or after the mount is gone, is never replicated, and lost once another node, or another daemon, takes the log
//! over. So the inodes are revoked: a forced GETATTR is answered with another file type, the kernel calls the inode bad,
//! and every handle on it answers EIO from then on. A name whose inode was revoked gets another one when it is looked up
//! again.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::Ordering;

use store::{DbName, FileKind};

use crate::tree::Tree;

/// Revokes every file that is open. Returns the names of those for which that failed.
pub(crate) fn revoke_open_files(tree: &Tree, dir: &Path) -> Vec<String> {
    tree.revoking.store(true, Ordering::Release);
    tree.open_names()
        .into_iter()
        .filter(|name| !revoke(&dir.join(name)))
        .collect()
}

/// Revokes the open files of one database. Returns the names of those for which that failed.
pub(crate) fn revoke_database(tree: &Tree, dir: &Path, db: &DbName) -> Vec<String> {
    let open = tree.open_names();
    let names = FileKind::ALL.map(|kind| db.file(kind));
    let names = names.into_iter().filter(|name| open.contains(name));
    names
        .filter(|name| {
            let revoked = tree.begin_revocation(name) && revoke(&dir.join(name));
            // Whatever the kernel said: whoever opens it from now on gets another inode.
            tree.unlink_name(name);
            !revoked
        })
        .collect()
}

/// Forces a GETATTR. `true` if the kernel took the answer for the end of the inode.
fn revoke(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    let mut answer = MaybeUninit::<libc::statx>::uninit();
    let flags = libc::AT_STATX_FORCE_SYNC | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path ends with NUL, and the kernel writes at most one statx to `answer`, which is not read.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            libc::STATX_SIZE,
            answer.as_mut_ptr(),
        )
    };
    result != 0
}
