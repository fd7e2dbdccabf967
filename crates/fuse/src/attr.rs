//! Attributes: of backing files, and of files that are made up.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

/// How long the kernel may keep names and attributes of real files. Long: whatever changes them goes through the
/// mount, or is followed by an invalidation.
pub(crate) const TTL: Duration = Duration::from_secs(3600);

/// For what changes without anybody writing to it.
pub(crate) const NO_TTL: Duration = Duration::ZERO;

/// The attributes of a backing file, under the number that it has in the mount.
pub(crate) fn of_file(ino: u64, meta: &Metadata) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: meta.len(),
        blocks: meta.blocks(),
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: (meta.mode() & 0o7777) as u16,
        nlink: 1,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes of a file that is made up.
pub(crate) fn synthetic(ino: u64, size: u64, perm: u16, mtime: SystemTime) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm,
        nlink: 1,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The attributes of the root directory: those of the directory of the databases, with one inode number.
pub(crate) fn root(meta: &Metadata) -> FileAttr {
    FileAttr {
        kind: FileType::Directory,
        nlink: 2,
        ..of_file(INodeNo::ROOT.0, meta)
    }
}

fn time(seconds: i64, nanos: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanos).unwrap_or(0)),
        Err(_) => UNIX_EPOCH,
    }
}
