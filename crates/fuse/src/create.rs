//! CREATE: a file of a database, or a database.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackingId, Errno, FileHandle, Generation, ReplyCreate, RequestId};
use nix::unistd::{Gid, Uid};
use store::{Database, DbName, FileKind, MountName, Refusal};

use crate::attr::TTL;
use crate::backing::{create_backing, open_backing, set_permissions};
use crate::errno::{of_io, of_refusal};
use crate::inode::Node;
use crate::open::Backing;
use crate::tree::Tree;

/// A CREATE request.
pub(crate) struct Create {
    pub(crate) name: String,
    pub(crate) parsed: MountName,
    /// Permission bits, the umask applied.
    pub(crate) permissions: u32,
    /// open(2) flags.
    pub(crate) flags: i32,
    /// User and group of the caller.
    pub(crate) owner: (u32, u32),
    pub(crate) own: bool,
    pub(crate) unique: RequestId,
}

/// Creates it and replies.
pub(crate) fn run(tree: &Arc<Tree>, create: Create, reply: ReplyCreate) {
    match create.parsed.clone() {
        MountName::File(name, FileKind::Database) => create_database(tree, name, create, reply),
        MountName::File(name, kind) => match tree.store.database(&name) {
            Some(db) => create_companion(tree, db, kind, create, reply),
            // SQLite opens the database first; a companion without one is nothing.
            None => reply.error(Errno::EACCES),
        },
        MountName::SuperJournal(name) if tree.store.admits_writers() => {
            let path = tree.store.data_dir().super_journals().join(name);
            open_and_reply(tree, Node::SuperJournal, path, &create, reply);
        }
        MountName::SuperJournal(_) => reply.error(Errno::EACCES),
        // Never ENOSYS: the kernel would send no CREATE again for as long as the mount lives.
        MountName::Pos(_) | MountName::Lock(_) | MountName::Primary | MountName::Lag => {
            reply.error(Errno::EACCES)
        }
    }
}

fn create_database(tree: &Arc<Tree>, name: DbName, create: Create, reply: ReplyCreate) {
    if let Some(db) = tree.store.database(&name) {
        return create_companion(tree, db, FileKind::Database, create, reply);
    }
    if !tree.store.admits_writers() {
        return reply.error(of_refusal(Refusal::ReadOnly));
    }
    // Makes directories and syncs them: not on a FUSE worker.
    let tree = tree.clone();
    let store = tree.store.clone();
    store.create_database_then(
        &name,
        Box::new(move |created| match created {
            Ok(db) => create_companion(&tree, db, FileKind::Database, create, reply),
            Err(refusal) => reply.error(of_refusal(refusal)),
        }),
    );
}

fn create_companion(
    tree: &Arc<Tree>,
    db: Arc<Database>,
    kind: FileKind,
    create: Create,
    reply: ReplyCreate,
) {
    let path = tree.backing(&db, kind);
    // A CREATE holds the whole directory: it is never made to wait.
    let at_once = create.own || (path.exists() && db.is_ready(kind));
    if !at_once && let Err(refusal) = db.may_create(kind) {
        return reply.error(of_refusal(refusal));
    }
    if !create.own && !db.is_readable() {
        return reply.error(Errno::EIO);
    }
    let existing = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > 0);
    if !existing || create.flags & libc::O_TRUNC == 0 || create.own {
        return open_and_reply(tree, Node::File(db, kind), path, &create, reply);
    }
    empty_then_open(tree, db, kind, path, create, reply);
}

/// O_TRUNC for a file that the kernel took for absent: for the database the same as a SETATTR of its size. Like an
/// UNLINK it holds the directory meanwhile, and like that it looks up no name.
fn empty_then_open(
    tree: &Arc<Tree>,
    db: Arc<Database>,
    kind: FileKind,
    path: PathBuf,
    create: Create,
    reply: ReplyCreate,
) {
    if let Err(refusal) = db.may_resize(kind) {
        return reply.error(of_refusal(refusal));
    }
    let file = match open_backing(&path) {
        Ok(_) if create.flags & libc::O_EXCL != 0 => return reply.error(Errno::EEXIST),
        Ok(file) => Arc::new(file),
        Err(error) => return reply.error(of_io(&error)),
    };
    let (tree, node) = (tree.clone(), Node::File(db.clone(), kind));
    db.truncate(
        kind,
        file,
        0,
        Box::new(move |emptied| match emptied {
            Ok(()) => open_and_reply(&tree, node, path, &create, reply),
            Err(refusal) => reply.error(of_refusal(refusal)),
        }),
    );
}

fn open_and_reply(tree: &Tree, node: Node, path: PathBuf, create: &Create, reply: ReplyCreate) {
    let file = match open_as_asked(tree, &node, &path, create) {
        Ok(file) => file,
        Err(error) => return reply.error(of_io(&error)),
    };
    tree.entry_changed(&path);
    let inode = tree.inode_for(&create.name, node, path);
    let opened = tree.open_file(&inode, file, create.own, create.unique, |backing| {
        match backing {
            Backing::New(file) => reply.open_backing(file).map(BackingId::into_raw),
            Backing::Registered(id) => Ok(id),
        }
        // SAFETY: the number is the kernel's for this connection, and this is the only owner of it.
        .map(|id| (unsafe { reply.wrap_backing(id) }, id))
    });
    let attr = match tree.attr_of(&inode) {
        Ok((attr, _)) => attr,
        Err(error) => {
            tree.release(opened.number);
            return reply.error(of_io(&error));
        }
    };
    tree.count_lookup(&inode);
    let handle = FileHandle(opened.number);
    match &opened.backing {
        Some(backing) => {
            reply.created_passthrough(&TTL, &attr, Generation(0), handle, opened.flags, backing);
        }
        None => reply.created(&TTL, &attr, Generation(0), handle, opened.flags),
    }
}

/// The file may exist: the kernel may have remembered that it did not.
fn open_as_asked(tree: &Tree, node: &Node, path: &Path, create: &Create) -> io::Result<File> {
    let existed = path.exists();
    let (permissions, (uid, gid)) = ownership(tree, node, create)?;
    let file = create_backing(path, permissions, create.flags & libc::O_EXCL != 0)?;
    if !existed {
        set_permissions(&file, permissions)?;
        if nix::unistd::geteuid().is_root() {
            nix::unistd::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(file)
}

/// Permissions, and user and group: those that the application asks for. What the store creates beside a database has
/// those of the database, as SQLite gives it.
fn ownership(tree: &Tree, node: &Node, create: &Create) -> io::Result<(u32, (u32, u32))> {
    match node {
        Node::File(db, kind) if create.own && *kind != FileKind::Database => {
            let meta = std::fs::metadata(tree.backing(db, FileKind::Database))?;
            Ok((meta.mode() & 0o777, (meta.uid(), meta.gid())))
        }
        _ => Ok((create.permissions, create.owner)),
    }
}
