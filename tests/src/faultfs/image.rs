//! What is on the disk when the machine dies: a function of the operations until then, and of a seed.
//!
//! The disk keeps what was synced, and any part of the rest:
//! - of a file each block of 4 KiB is the synced one or the newest; its length that of either. A file that was cut and
//!   not synced is the synced one altogether, or was cut on the disk as well.
//! - of the changes of names a first part, in order, as a journal keeps them. A sync of a directory keeps all changes
//!   up to the last one in that directory.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::faultfs::operation::{Ino, Operation};
use crate::faultfs::tree::Tree;

const BLOCK: usize = 4096;

/// All that was done: what a killed process leaves.
pub(crate) fn after_kill(base: &Tree, operations: &[Operation]) -> Tree {
    let mut tree = base.clone();
    operations
        .iter()
        .for_each(|operation| tree.apply(operation));
    tree
}

/// What a power failure leaves; `names` says whether changes of names can be lost too.
pub(crate) fn after_power_cut(
    base: &Tree,
    operations: &[Operation],
    seed: u64,
    names: bool,
) -> Tree {
    let mut random = StdRng::seed_from_u64(seed);
    let kept = if names {
        random.random_range(durable_names(operations)..=operations.len())
    } else {
        operations.len()
    };
    let mut tree = base.clone();
    let mut disks: HashMap<Ino, Disk> = HashMap::new();
    for (at, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Truncate { ino, size } => {
                let disk = disks
                    .entry(*ino)
                    .or_insert_with(|| Disk::of(&tree.node(*ino).content));
                disk.cut(*size, &mut random);
            }
            Operation::Write { ino, .. } => {
                disks
                    .entry(*ino)
                    .or_insert_with(|| Disk::of(&tree.node(*ino).content));
            }
            Operation::Fsync { ino } => {
                disks.remove(ino);
            }
            // A file that was made has its node even if its name is lost: later operations write to it.
            Operation::Create { ino, .. } if at >= kept => {
                tree.apply(operation);
                disks.insert(*ino, Disk::of(&[]));
                continue;
            }
            _ => {}
        }
        tree.apply(operation);
    }
    for (ino, disk) in disks {
        let node = tree.node_mut(ino);
        node.content = disk.mix(&node.content, &mut StdRng::seed_from_u64(seed ^ ino));
    }
    with_names_of(base, operations, kept, tree)
}

/// The contents of `tree` under the names that the first `kept` operations have made.
fn with_names_of(base: &Tree, operations: &[Operation], kept: usize, tree: Tree) -> Tree {
    let mut named = base.clone();
    operations[..kept]
        .iter()
        .filter(|operation| operation.is_of_names())
        .for_each(|operation| named.apply(operation));
    for ino in named.files() {
        named
            .node_mut(ino)
            .content
            .clone_from(&tree.node(ino).content);
    }
    named
}

/// How many of the operations must be there as far as names go.
fn durable_names(operations: &[Operation]) -> usize {
    let mut durable = 0;
    for (at, operation) in operations.iter().enumerate() {
        if let Operation::FsyncDirectory { ino } = operation {
            let before = &operations[..at];
            let last = before.iter().rposition(|earlier| earlier.touches(*ino));
            durable = durable.max(last.map_or(0, |last| last + 1));
        }
    }
    durable
}

/// What the disk has of a file that was changed since its last sync.
struct Disk {
    content: Vec<u8>,
    /// A cut that did not reach the disk: nothing after it did.
    stuck: bool,
}

impl Disk {
    fn of(content: &[u8]) -> Disk {
        Disk {
            content: content.to_vec(),
            stuck: false,
        }
    }

    fn cut(&mut self, size: usize, random: &mut StdRng) {
        if size >= self.content.len() {
            return;
        }
        if random.random() {
            self.stuck = true;
        } else if !self.stuck {
            self.content.truncate(size);
        }
    }

    fn mix(self, newest: &[u8], random: &mut StdRng) -> Vec<u8> {
        if self.stuck {
            return self.content;
        }
        let length = if random.random() {
            newest.len()
        } else {
            self.content.len()
        };
        let mut mixed = self.content;
        mixed.resize(length, 0);
        for (block, chunk) in mixed.chunks_mut(BLOCK).enumerate() {
            let newer = newest.get(block * BLOCK..).unwrap_or_default();
            if random.random() {
                let common = newer.len().min(chunk.len());
                chunk[..common].copy_from_slice(&newer[..common]);
            }
        }
        mixed
    }
}
