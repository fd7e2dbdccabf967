//! The file system without FUSE: what is there, what was done, what is to fail.

use std::path::Path;

use crate::faultfs::command::{Fault, Hit, Loss};
use crate::faultfs::image::{after_kill, after_power_cut};
use crate::faultfs::operation::{Ino, Kind, Operation};
use crate::faultfs::tree::{Refused, Tree};

/// Behind one lock: one request at a time, so that the order of operations is the order in which they were done.
pub(crate) struct State {
    pub(crate) tree: Tree,
    base: Tree,
    done: Vec<Operation>,
    fault: Option<Armed>,
}

struct Armed {
    fault: Fault,
    seen: u64,
    hits: Vec<Hit>,
}

impl State {
    /// Begins with what is in the directory `path`, all of it synced.
    pub(crate) fn load(path: &Path) -> std::io::Result<State> {
        let tree = Tree::load(path)?;
        Ok(State {
            base: tree.clone(),
            tree,
            done: Vec::new(),
            fault: None,
        })
    }

    /// Does an operation, unless it is to fail.
    pub(crate) fn change(&mut self, operation: Operation) -> Result<(), Refused> {
        let path = self.tree.path_of(&operation);
        self.admit(operation.kind(), &path)?;
        self.tree.check(&operation)?;
        self.tree.apply(&operation);
        if !is_volatile(&path) {
            self.done.push(operation);
        }
        Ok(())
    }

    /// Lets a request that changes nothing pass, unless it is to fail.
    pub(crate) fn look(&mut self, kind: Kind, ino: Ino) -> Result<(), Refused> {
        if self.fault.is_none() {
            return Ok(());
        }
        let path = self.tree.path(ino);
        self.admit(kind, &path)
    }

    fn admit(&mut self, kind: Kind, path: &str) -> Result<(), Refused> {
        let Some(armed) = &mut self.fault else {
            return Ok(());
        };
        if is_volatile(path) || !armed.fault.is_about(kind, path) {
            return Ok(());
        }
        armed.seen += 1;
        let nth = armed.fault.nth;
        if armed.seen == nth || armed.fault.lasting && armed.seen > nth {
            armed.hits.push(Hit {
                kind,
                path: path.to_owned(),
            });
            return Err(armed.fault.errno);
        }
        Ok(())
    }

    pub(crate) fn arm(&mut self, fault: Fault) {
        self.fault = Some(Armed {
            fault,
            seen: 0,
            hits: Vec::new(),
        });
    }

    /// How many requests were about the fault, and which of them failed.
    pub(crate) fn disarm(&mut self) -> (u64, Vec<Hit>) {
        self.fault
            .take()
            .map_or_else(Default::default, |armed| (armed.seen, armed.hits))
    }

    /// How many operations were done.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// Writes the disk of a machine that died after the first `after` operations into the new directory `path`.
    pub(crate) fn image(&self, after: usize, loss: Loss, path: &Path) -> std::io::Result<()> {
        let operations = &self.done[..after];
        let tree = match loss {
            Loss::Nothing => after_kill(&self.base, operations),
            Loss::Unsynced { seed, names } => after_power_cut(&self.base, operations, seed, names),
        };
        tree.dump(path)
    }

    /// The operation number `at`, to show.
    pub(crate) fn describe(&self, at: usize) -> String {
        let mut tree = self.base.clone();
        self.done[..at].iter().for_each(|done| tree.apply(done));
        match self.done.get(at) {
            Some(operation) => format!("{:?} {}", operation.kind(), tree.path_of(operation)),
            None => "the end".to_owned(),
        }
    }
}

/// Shared memory: its pages are written when the kernel likes, and nobody needs them after a crash.
fn is_volatile(path: &str) -> bool {
    path.ends_with("/shm")
}
