//! The FUSE requests: decode, one call, reply.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BackingId, BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, RequestId, TimeOrNow, WriteFlags,
};
use store::{MountName, Refusal};

use crate::attr::TTL;
use crate::backing::open_backing;
use crate::errno::{of_io, of_refusal};
use crate::inode::Node;
use crate::listing;
use crate::open::Backing;
use crate::requests::{Op, Requests};
use crate::resume::is_resent;
use crate::tree::Tree;

/// The largest WRITE and READ that the kernel may send, in bytes.
const MAX_WRITE: u32 = 1024 * 1024;

/// Backing files may be on one stacked file system (overlayfs, in containers).
const STACK_DEPTH: u32 = 2;

/// An answer with no attributes: for a negative entry only its TTL counts.
const NO_INODE: u64 = 0;

/// The adapter between fuser and the tree.
pub(crate) struct Adapter {
    tree: Arc<Tree>,
    requests: Arc<Requests>,
    passthrough: bool,
    debug: bool,
    ended: Ended,
}

/// What is to be called when the session ends.
pub(crate) type Ended = Arc<parking_lot::Mutex<Option<Box<dyn FnOnce() + Send>>>>;

impl Adapter {
    pub(crate) fn new(
        tree: Arc<Tree>,
        requests: Arc<Requests>,
        passthrough: bool,
        debug: bool,
        ended: Ended,
    ) -> Adapter {
        Adapter {
            tree,
            requests,
            passthrough,
            debug,
            ended,
        }
    }

    /// Counts (those of applications) and logs a request, and keeps a panic in its handler from ending the worker. (The
    /// reply that is dropped then answers EIO.)
    fn run(
        &self,
        op: Op,
        request: &Request,
        what: std::fmt::Arguments<'_>,
        handler: impl FnOnce(),
    ) {
        if !self.is_own(request) {
            self.requests.count(op);
        }
        if self.debug {
            tracing::debug!(?op, tid = request.pid(), "{what}");
        }
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(handler)).is_err() {
            tracing::error!(
                ?op,
                "a request handler panicked on {what}; the request failed"
            );
        }
    }

    fn is_own(&self, request: &Request) -> bool {
        self.tree.own.contains(request.pid())
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let refused = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        tracing::debug!(?refused, "capabilities");
        // As large as the kernel takes.
        let _ = config.set_max_write(MAX_WRITE);
        if self.passthrough {
            let offered = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
                && config.set_max_stack_depth(STACK_DEPTH).is_ok();
            if !offered {
                tracing::warn!(
                    "this kernel has no FUSE passthrough: files are served through the page cache, which is slower"
                );
                self.tree
                    .passthrough
                    .store(false, std::sync::atomic::Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn destroy(&mut self) {
        if let Some(ended) = self.ended.lock().take() {
            ended();
        }
    }

    fn lookup(&self, request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.run(
            Op::Lookup,
            request,
            format_args!("lookup {}", name.display()),
            || {
                let Some(name) = name.to_str() else {
                    return reply.error(Errno::EINVAL);
                };
                match self.tree.lookup(name) {
                    Ok(Some((_, attr, ttl))) => reply.entry(&ttl, &attr, Generation(0)),
                    Ok(None) => {
                        let none = crate::attr::synthetic(NO_INODE, 0, 0, SystemTime::UNIX_EPOCH);
                        reply.entry(&TTL, &none, Generation(0));
                    }
                    Err(errno) => reply.error(errno),
                }
            },
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.tree.forget(ino.0, nlookup);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.run(Op::Getattr, request, format_args!("getattr {ino}"), || {
            if ino == INodeNo::ROOT {
                return match self.tree.root_attr() {
                    // With default_permissions the kernel looks at them for each path.
                    Ok(attr) => reply.attr(&TTL, &attr),
                    Err(error) => reply.error(of_io(&error)),
                };
            }
            let Some(inode) = self.tree.inode(ino.0) else {
                return reply.error(Errno::ESTALE);
            };
            match self.tree.attr_of(&inode) {
                Ok((attr, ttl)) => reply.attr(&ttl, &attr),
                Err(error) => reply.error(of_io(&error)),
            }
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let own = self.is_own(request);
        self.run(
            Op::Setattr,
            request,
            format_args!("setattr {ino} size {size:?}"),
            || {
                let change = crate::setattr::Change {
                    mode,
                    uid,
                    gid,
                    size,
                    atime,
                    mtime,
                };
                let handle = fh.and_then(|fh| self.tree.handles.get(fh.0));
                crate::setattr::apply(&self.tree, ino, change, handle, own, reply);
            },
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (own, unique) = (self.is_own(request), request.unique());
        self.run(
            Op::Open,
            request,
            format_args!("open {ino} own {own}"),
            || {
                let Some(inode) = self.tree.inode(ino.0) else {
                    return reply.error(Errno::ESTALE);
                };
                let tree = self.tree.clone();
                match &inode.node {
                    Node::File(db, kind) => {
                        let (db, kind) = (db.clone(), *kind);
                        if !own && !db.is_readable() {
                            return reply.error(Errno::EIO);
                        }
                        let open = move || reply_opened(&tree, &inode, own, unique, reply);
                        if own {
                            open()
                        } else {
                            db.when_ready(kind, Box::new(open))
                        }
                    }
                    Node::SuperJournal => reply_opened(&tree, &inode, own, unique, reply),
                    Node::Gone => reply.error(Errno::ESTALE),
                    Node::Pos(_) | Node::Lock | Node::Primary | Node::Lag => {
                        if flags.0 & libc::O_ACCMODE != libc::O_RDONLY
                            && !matches!(inode.node, Node::Lock)
                        {
                            return reply.error(Errno::EACCES);
                        }
                        let opened = tree.open_synthetic(&inode, unique);
                        reply.opened(FileHandle(opened.number), opened.flags);
                    }
                }
            },
        );
    }

    fn create(
        &self,
        request: &Request,
        _parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let own = self.is_own(request);
        let (uid, gid, unique) = (request.uid(), request.gid(), request.unique());
        // Asked for once more: the file may be there by now, made for the same caller.
        let flags = if is_resent(unique) {
            flags & !libc::O_EXCL
        } else {
            flags
        };
        self.run(
            Op::Create,
            request,
            format_args!("create {} own {own}", name.display()),
            || {
                let Some(name) = name.to_str() else {
                    return reply.error(Errno::EINVAL);
                };
                let parsed = match MountName::parse(name) {
                    Ok(parsed) => parsed,
                    Err(_) => return reply.error(Errno::EINVAL),
                };
                let create = crate::create::Create {
                    name: name.to_owned(),
                    parsed,
                    permissions: mode & !umask & 0o7777,
                    flags,
                    owner: (uid, gid),
                    own,
                    unique,
                };
                crate::create::run(&self.tree, create, reply);
            },
        );
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.run(
            Op::Read,
            request,
            format_args!("read {ino} {size} at {offset}"),
            || {
                let Some(handle) = self.tree.handles.get(fh.0) else {
                    return reply.error(Errno::EBADF);
                };
                crate::transfer::read(&self.tree, &handle, offset, size, reply);
            },
        );
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.run(
            Op::Write,
            request,
            format_args!("write {ino} {} at {offset}", data.len()),
            || {
                let Some(handle) = self.tree.handles.get(fh.0) else {
                    return reply.error(Errno::EBADF);
                };
                crate::transfer::write(&handle, offset, data, reply);
            },
        );
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Only for handles that another process opened before NOFLUSH: nothing is buffered here.
        self.run(Op::Other, request, format_args!("flush {ino}"), || {
            reply.ok()
        });
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run(Op::Fsync, request, format_args!("fsync {ino}"), || {
            let Some(handle) = self.tree.handles.get(fh.0) else {
                return reply.error(Errno::EBADF);
            };
            crate::transfer::sync(&handle, datasync, reply);
        });
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.run(Op::Release, request, format_args!("release {ino}"), || {
            self.tree.release(fh.0);
            reply.ok();
        });
    }

    fn unlink(&self, request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (own, resent) = (self.is_own(request), is_resent(request.unique()));
        self.run(
            Op::Unlink,
            request,
            format_args!("unlink {}", name.display()),
            || {
                let Some(name) = name.to_str() else {
                    return reply.error(Errno::EINVAL);
                };
                crate::unlink::run(&self.tree, name, own, resent, reply);
            },
        );
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.run(Op::Opendir, request, format_args!("opendir {ino}"), || {
            reply.opened(FileHandle(0), FopenFlags::empty());
        });
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.run(
            Op::Readdir,
            request,
            format_args!("readdir {ino} from {offset}"),
            || {
                let dots = [".".to_owned(), "..".to_owned()];
                let names = dots.into_iter().chain(listing::names(&self.tree.store));
                for (index, name) in names
                    .enumerate()
                    .skip(usize::try_from(offset).unwrap_or(usize::MAX))
                {
                    let kind = if index < 2 {
                        FileType::Directory
                    } else {
                        FileType::RegularFile
                    };
                    // The number is not that of a later LOOKUP; no program that uses SQLite compares them.
                    if reply.add(INodeNo(index as u64 + 1), index as u64 + 1, kind, &name) {
                        break;
                    }
                }
                reply.ok();
            },
        );
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run(
            Op::Fsyncdir,
            request,
            format_args!("fsyncdir {ino}"),
            || {
                reply_to(reply)(self.tree.sync_directories().map_err(Refusal::from));
            },
        );
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.run(Op::Other, request, format_args!("statfs {ino}"), || {
            match nix::sys::statvfs::statvfs(self.tree.store.data_dir().path()) {
                Ok(stat) => reply.statfs(
                    stat.blocks(),
                    stat.blocks_free(),
                    stat.blocks_available(),
                    stat.files(),
                    stat.files_free(),
                    stat.block_size() as u32,
                    stat.name_max() as u32,
                    stat.fragment_size() as u32,
                ),
                Err(errno) => reply.error(Errno::from_i32(errno as i32)),
            }
        });
    }

    // What the mount does not have. ENOSYS is remembered by the kernel for ever, so it is only for what never will be.

    fn getxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOTDIR);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EPERM);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        // posix_fallocate writes zeros instead, which are seen.
        reply.error(Errno::EOPNOTSUPP);
    }
}

fn reply_opened(
    tree: &Tree,
    inode: &Arc<crate::inode::Inode>,
    own: bool,
    unique: RequestId,
    reply: ReplyOpen,
) {
    let unlinked = inode.open.lock().unlinked;
    let file = match open_backing(&inode.path) {
        Ok(file) if !unlinked => file,
        Ok(_) => return reply.error(Errno::ESTALE),
        Err(error) => return reply.error(of_io(&error)),
    };
    let opened = tree.open_file(inode, file, own, unique, |backing| {
        match backing {
            Backing::New(file) => reply.open_backing(file).map(BackingId::into_raw),
            Backing::Registered(id) => Ok(id),
        }
        // SAFETY: the number is the kernel's for this connection, and this is the only owner of it.
        .map(|id| (unsafe { reply.wrap_backing(id) }, id))
    });
    match &opened.backing {
        Some(backing) => reply.opened_passthrough(FileHandle(opened.number), opened.flags, backing),
        None => reply.opened(FileHandle(opened.number), opened.flags),
    }
}

/// A completion that answers a request.
pub(crate) fn reply_to(reply: ReplyEmpty) -> store::Completion {
    Box::new(move |result| match result {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(of_refusal(refusal)),
    })
}
