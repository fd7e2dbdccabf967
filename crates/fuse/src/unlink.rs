//! UNLINK: a companion of a database, or a database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Errno, ReplyEmpty};
use store::{FileKind, MountName};

use crate::errno::{of_io, of_refusal};
use crate::tree::Tree;

/// Removes it and replies.
///
/// `resent`: it may have been done already, by a process that died before it answered.
pub(crate) fn run(tree: &Arc<Tree>, name: &str, own: bool, resent: bool, reply: ReplyEmpty) {
    let parsed = match MountName::parse(name) {
        Ok(parsed) => parsed,
        Err(_) => return reply.error(Errno::ENOENT),
    };
    match parsed {
        MountName::File(db, kind) => {
            let Some(db) = tree.store.database(&db) else {
                return not_there(tree, name, resent, reply);
            };
            let path = tree.backing(&db, kind);
            if !path.exists() {
                return not_there(tree, name, resent, reply);
            }
            if own {
                return remove_now(tree, name, &path, reply);
            }
            if let Err(refusal) = db.may_remove(kind) {
                return reply.error(of_refusal(refusal));
            }
            let done = when_removed(tree, name, path, reply);
            match kind {
                FileKind::Database => tree.store.unlink_database_then(db.name(), done),
                _ => db.remove(kind, done),
            }
        }
        MountName::SuperJournal(file) if tree.store.admits_writers() => {
            let path = tree.store.data_dir().super_journals().join(&file);
            if own {
                return remove_now(tree, name, &path, reply);
            }
            let done = when_removed(tree, name, path, reply);
            tree.store.remove_super_journal(&file, done);
        }
        // Not there, or not to be removed.
        MountName::SuperJournal(_) | MountName::Lock(_) | MountName::Pos(_) => {
            reply.error(Errno::EACCES)
        }
        MountName::Primary | MountName::Lag => reply.error(Errno::EACCES),
    }
}

fn not_there(tree: &Tree, name: &str, resent: bool, reply: ReplyEmpty) {
    if resent {
        tree.unlink_name(name);
        reply.ok();
    } else {
        reply.error(Errno::ENOENT);
    }
}

/// What is to be done once the store has removed a file, or refused to.
fn when_removed(
    tree: &Arc<Tree>,
    name: &str,
    path: PathBuf,
    reply: ReplyEmpty,
) -> store::Completion {
    let (tree, name) = (tree.clone(), name.to_owned());
    Box::new(move |result| match result {
        Ok(()) => {
            tree.unlink_name(&name);
            tree.entry_changed(&path);
            reply.ok();
        }
        Err(refusal) => reply.error(of_refusal(refusal)),
    })
}

fn remove_now(tree: &Tree, name: &str, path: &Path, reply: ReplyEmpty) {
    match std::fs::remove_file(path) {
        Ok(()) => {
            tree.unlink_name(name);
            tree.entry_changed(path);
            reply.ok();
        }
        Err(error) => reply.error(of_io(&error)),
    }
}
