//! SETATTR: size, permissions, owner, times of backing files.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use fuser::{Errno, INodeNo, ReplyAttr, TimeOrNow};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};

use crate::backing::{open_backing, set_permissions};
use crate::errno::{of_io, of_refusal};
use crate::handle::{Content, Handle};
use crate::inode::{Inode, Node};
use crate::tree::Tree;

/// What is to change.
pub(crate) struct Change {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
}

/// Changes it and replies.
pub(crate) fn apply(
    tree: &Arc<Tree>,
    ino: INodeNo,
    change: Change,
    handle: Option<Arc<Handle>>,
    own: bool,
    reply: ReplyAttr,
) {
    let inode = match tree.inode(ino.0) {
        Some(inode) if !inode.path.as_os_str().is_empty() => inode,
        // The root and what is made up stay as they are.
        _ => return reply.error(Errno::EPERM),
    };
    if let Err(error) = change.metadata(&inode) {
        return reply.error(of_io(&error));
    }
    let Some(size) = change.size else {
        return reply_attr(tree, &inode, reply);
    };
    let file = match file_of(&inode, handle.as_deref()) {
        Ok(file) => file,
        Err(error) => return reply.error(of_io(&error)),
    };
    let own = handle.map_or(own, |handle| handle.own);
    let (Node::File(db, kind), false) = (&inode.node, own) else {
        return match file.set_len(size) {
            Ok(()) => reply_attr(tree, &inode, reply),
            Err(error) => reply.error(of_io(&error)),
        };
    };
    if let Err(refusal) = db.may_resize(*kind) {
        return reply.error(of_refusal(refusal));
    }
    let (tree, resized) = (tree.clone(), inode.clone());
    db.truncate(
        *kind,
        file,
        size,
        Box::new(move |result| match result {
            Ok(()) => reply_attr(&tree, &resized, reply),
            Err(refusal) => reply.error(of_refusal(refusal)),
        }),
    );
}

fn reply_attr(tree: &Tree, inode: &Inode, reply: ReplyAttr) {
    match tree.attr_of(inode) {
        Ok((attr, ttl)) => reply.attr(&ttl, &attr),
        Err(error) => reply.error(of_io(&error)),
    }
}

fn file_of(inode: &Inode, handle: Option<&Handle>) -> io::Result<Arc<File>> {
    if let Some(Content::File(file)) = handle.map(|handle| &handle.content) {
        return Ok(file.clone());
    }
    if let Some(file) = inode.open.lock().file.clone() {
        return Ok(file);
    }
    open_backing(&inode.path).map(Arc::new)
}

impl Change {
    fn metadata(&self, inode: &Inode) -> io::Result<()> {
        if let Some(mode) = self.mode {
            set_permissions(&*file_of(inode, None)?, mode & 0o7777)?;
        }
        if self.uid.is_some() || self.gid.is_some() {
            let file = file_of(inode, None)?;
            nix::unistd::fchown(
                &*file,
                self.uid.map(Uid::from_raw),
                self.gid.map(Gid::from_raw),
            )?;
        }
        if self.atime.is_some() || self.mtime.is_some() {
            let (atime, mtime) = (time(self.atime), time(self.mtime));
            utimensat(
                nix::fcntl::AT_FDCWD,
                &inode.path,
                &atime,
                &mtime,
                UtimensatFlags::FollowSymlink,
            )?;
        }
        Ok(())
    }
}

fn time(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(at)) => {
            TimeSpec::from_duration(at.duration_since(UNIX_EPOCH).unwrap_or_default())
        }
    }
}
