//! The FUSE requests: decode, one call, reply.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::faultfs::operation::{Ino, Kind, Operation};
use crate::faultfs::state::State;
use crate::faultfs::tree::{Refused, Tree};

/// Nothing is kept by the kernel, so that every request comes here.
const TTL: Duration = Duration::ZERO;
/// Files have no state of their own when open.
const NO_HANDLE: FileHandle = FileHandle(0);

pub(crate) struct FaultFilesystem(pub(crate) Arc<Mutex<State>>);

impl FaultFilesystem {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(
        &self,
        parent: INodeNo,
        name: &OsStr,
        directory: bool,
        mode: u32,
    ) -> Result<FileAttr, Refused> {
        let mut state = self.state();
        let ino = state.tree.number();
        state.change(Operation::Create {
            ino,
            parent: parent.0,
            name: text(name),
            directory,
            mode: mode & 0o7777,
        })?;
        Ok(attributes(&state.tree, ino))
    }

    fn empty(&self, operation: Operation, reply: ReplyEmpty) {
        match self.state().change(operation) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

fn attributes(tree: &Tree, ino: Ino) -> FileAttr {
    let node = tree.node(ino);
    let (kind, nlink) = match &node.names {
        Some(_) => (FileType::Directory, 2),
        None => (FileType::RegularFile, 1),
    };
    let size = node.content.len() as u64;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: UNIX_EPOCH,
        kind,
        perm: (node.mode & 0o7777) as u16,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Shared memory is mapped, which needs the page cache. All else comes here request by request.
fn flags(tree: &Tree, ino: Ino) -> FopenFlags {
    if tree.node(ino).name == "shm" {
        FopenFlags::FOPEN_KEEP_CACHE
    } else {
        FopenFlags::FOPEN_DIRECT_IO
    }
}

impl Filesystem for FaultFilesystem {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.tree.child(parent.0, &text(name)) {
            Some(ino) => reply.entry(&TTL, &attributes(&state.tree, ino), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(&self.state().tree, ino.0));
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let Some(size) = size {
            let operation = Operation::Truncate {
                ino: ino.0,
                size: usize::try_from(size).expect("files of tests are small"),
            };
            if let Err(errno) = state.change(operation) {
                return reply.error(Errno::from_i32(errno));
            }
        }
        if let Some(mode) = mode {
            let (ino, mode) = (ino.0, mode & 0o7777);
            if let Err(errno) = state.change(Operation::Permissions { ino, mode }) {
                return reply.error(Errno::from_i32(errno));
            }
        }
        let node = state.tree.node_mut(ino.0);
        if let Some(mtime) = mtime {
            node.modified = match mtime {
                TimeOrNow::Now => SystemTime::now(),
                TimeOrNow::SpecificTime(time) => time,
            };
        }
        reply.attr(&TTL, &attributes(&state.tree, ino.0));
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        match self.create(parent, name, true, mode & !umask) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create(parent, name, false, mode & !umask) {
            Ok(attributes) => {
                let flags = flags(&self.state().tree, attributes.ino.0);
                reply.created(&TTL, &attributes, Generation(0), NO_HANDLE, flags);
            }
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (parent.0, text(name));
        self.empty(Operation::Unlink { parent, name }, reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (parent.0, text(name));
        self.empty(Operation::Unlink { parent, name }, reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let from = (parent.0, text(name));
        let to = (newparent.0, text(newname));
        self.empty(Operation::Rename { from, to }, reply);
    }

    fn open(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut state = self.state();
        match state.look(Kind::Open, ino.0) {
            Ok(()) => reply.opened(NO_HANDLE, flags(&state.tree, ino.0)),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        if let Err(errno) = state.look(Kind::Read, ino.0) {
            return reply.error(Errno::from_i32(errno));
        }
        let content = &state.tree.node(ino.0).content;
        let start = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
        let end = content.len().min(start + size as usize);
        reply.data(&content[start..end]);
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let operation = Operation::Write {
            ino: ino.0,
            offset: usize::try_from(offset).expect("files of tests are small"),
            data: data.to_vec(),
        };
        match self.state().change(operation) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel's limit")),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.empty(Operation::Fsync { ino: ino.0 }, reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.empty(Operation::FsyncDirectory { ino: ino.0 }, reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state();
        let Some(names) = &state.tree.node(ino.0).names else {
            return reply.error(Errno::ENOTDIR);
        };
        // A node's number is its place, so that what goes meanwhile moves nobody.
        let mut listed: Vec<(Ino, &str)> = names.iter().map(|(n, i)| (*i, n.as_str())).collect();
        listed.sort_unstable();
        for (child, name) in listed.into_iter().filter(|(child, _)| *child > offset) {
            let kind = attributes(&state.tree, child).kind;
            if reply.add(INodeNo(child), child, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 20;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4096, 255, 4096);
    }
}
