//! READ, WRITE and FSYNC on handles.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite};
use store::{FileKind, Refusal};

use crate::errno::{of_io, of_refusal};
use crate::filesystem::reply_to;
use crate::handle::{Content, Handle};
use crate::inode::Node;
use crate::synthetic;
use crate::tree::Tree;

/// READ.
pub(crate) fn read(tree: &Tree, handle: &Handle, offset: u64, size: u32, reply: ReplyData) {
    match &handle.content {
        Content::File(file) => match read_file(file, offset, size) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(of_io(&error)),
        },
        Content::Synthetic => read_synthetic(tree, handle, offset, size, reply),
        Content::Gone => reply.error(Errno::EIO),
    }
}

/// WRITE.
pub(crate) fn write(handle: &Handle, offset: u64, data: &[u8], reply: ReplyWrite) {
    let file = match &handle.content {
        Content::File(file) => file,
        Content::Gone => return reply.error(Errno::EIO),
        Content::Synthetic => return reply.error(Errno::EACCES),
    };
    // The kernel sends at most MAX_WRITE bytes.
    let written = data.len() as u32;
    let (Node::File(db, kind), false) = (&handle.inode.node, handle.own) else {
        return match file.write_all_at(data, offset) {
            Ok(()) => reply.written(written),
            Err(error) => reply.error(of_io(&error)),
        };
    };
    if let Err(refusal) = db.may_write(*kind) {
        return reply.error(of_refusal(refusal));
    }
    if *kind == FileKind::Journal && db.is_commit_write(file, offset, data) {
        let done: store::Completion = Box::new(move |result| match result {
            Ok(()) => reply.written(written),
            Err(refusal) => reply.error(of_refusal(refusal)),
        });
        return db.commit_write(file.clone(), data.to_vec(), done);
    }
    match file.write_all_at(data, offset) {
        Ok(()) => {
            db.wrote(*kind, offset, u64::from(written));
            reply.written(written);
        }
        Err(error) => reply.error(of_io(&error)),
    }
}

/// FSYNC.
pub(crate) fn sync(handle: &Handle, data_only: bool, reply: ReplyEmpty) {
    let Content::File(file) = &handle.content else {
        return reply.ok();
    };
    match (&handle.inode.node, handle.own) {
        (Node::File(db, kind), false) => db.sync(*kind, file.clone(), data_only, reply_to(reply)),
        _ => {
            let synced = if data_only {
                file.sync_data()
            } else {
                file.sync_all()
            };
            reply_to(reply)(synced.map_err(Refusal::from));
        }
    }
}

fn read_synthetic(tree: &Tree, handle: &Handle, offset: u64, size: u32, reply: ReplyData) {
    let text = match &handle.inode.node {
        // The position asks the database first; it answers from its own thread.
        Node::Pos(db) => {
            return db.drain_then(move |pos| match pos {
                Ok(pos) => reply.data(window(synthetic::pos(pos).as_bytes(), offset, size)),
                Err(_) => reply.error(Errno::EIO),
            });
        }
        Node::Primary => match synthetic::primary(&tree.store) {
            Some(text) => text,
            None => return reply.error(Errno::ENOENT),
        },
        Node::Lag => synthetic::lag(&tree.store),
        Node::Lock | Node::File(..) | Node::SuperJournal | Node::Gone => String::new(),
    };
    reply.data(window(text.as_bytes(), offset, size));
}

fn window(bytes: &[u8], offset: u64, size: u32) -> &[u8] {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let end = start.saturating_add(size as usize).min(bytes.len());
    &bytes[start..end]
}

fn read_file(file: &File, offset: u64, size: u32) -> io::Result<Vec<u8>> {
    let mut data = vec![0; size as usize];
    let mut read = 0;
    while read < data.len() {
        match file.read_at(&mut data[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(read);
    Ok(data)
}
