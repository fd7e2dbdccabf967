//! Files and directories in memory. Data directories of tests are small, so copies of everything are cheap.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use crate::faultfs::operation::{Ino, Operation, ROOT};

/// A file or directory.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) parent: Ino,
    /// The last name that it had.
    pub(crate) name: String,
    /// Of a directory: its names.
    pub(crate) names: Option<BTreeMap<String, Ino>>,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) modified: SystemTime,
}

/// All of them, those without a name as well: somebody may have them open, or a lost UNLINK brings them back.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: HashMap<Ino, Node>,
    next: Ino,
}

/// An errno.
pub(crate) type Refused = i32;

impl Tree {
    /// Only the root.
    pub(crate) fn new() -> Tree {
        let mut tree = Tree {
            nodes: HashMap::new(),
            next: ROOT,
        };
        let ino = tree.number();
        tree.nodes.insert(ino, Node::new(ROOT, "", true, 0o755));
        tree
    }

    /// A copy of what is in the directory `path`.
    pub(crate) fn load(path: &Path) -> io::Result<Tree> {
        let mut tree = Tree::new();
        tree.load_below(path, ROOT)?;
        Ok(tree)
    }

    fn load_below(&mut self, path: &Path, parent: Ino) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let mode = meta.permissions().mode() & 0o7777;
            let ino = self.number();
            self.insert(ino, parent, &name, meta.is_dir(), mode);
            if meta.is_dir() {
                self.load_below(&entry.path(), ino)?;
            } else {
                self.node_mut(ino).content = fs::read(entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes everything that has a name into the new directory `path`.
    pub(crate) fn dump(&self, path: &Path) -> io::Result<()> {
        self.dump_below(path, ROOT)
    }

    fn dump_below(&self, path: &Path, ino: Ino) -> io::Result<()> {
        let node = self.node(ino);
        match &node.names {
            None => fs::write(path, &node.content)?,
            Some(names) => {
                fs::create_dir(path)?;
                for (name, ino) in names {
                    self.dump_below(&path.join(name), *ino)?;
                }
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(node.mode))
    }

    /// A number for something new.
    pub(crate) fn number(&mut self) -> Ino {
        self.next += 1;
        self.next - 1
    }

    /// # Panics
    /// If there is no such node. Nodes are never forgotten, and the kernel asks only for those that it was given.
    pub(crate) fn node(&self, ino: Ino) -> &Node {
        &self.nodes[&ino]
    }

    pub(crate) fn node_mut(&mut self, ino: Ino) -> &mut Node {
        self.nodes.get_mut(&ino).expect("nodes are never forgotten")
    }

    pub(crate) fn child(&self, parent: Ino, name: &str) -> Option<Ino> {
        self.node(parent).names.as_ref()?.get(name).copied()
    }

    /// Numbers of all files.
    pub(crate) fn files(&self) -> Vec<Ino> {
        let files = self.nodes.iter().filter(|(_, node)| node.names.is_none());
        let mut files: Vec<Ino> = files.map(|(ino, _)| *ino).collect();
        files.sort_unstable();
        files
    }

    /// The path below the root.
    pub(crate) fn path(&self, ino: Ino) -> String {
        if ino == ROOT {
            return String::new();
        }
        let node = self.node(ino);
        format!("{}/{}", self.path(node.parent), node.name)
    }

    /// The path that an operation is about.
    pub(crate) fn path_of(&self, operation: &Operation) -> String {
        match operation {
            Operation::Create { parent, name, .. } | Operation::Unlink { parent, name } => {
                format!("{}/{name}", self.path(*parent))
            }
            Operation::Rename { to, .. } => format!("{}/{}", self.path(to.0), to.1),
            Operation::Write { ino, .. }
            | Operation::Truncate { ino, .. }
            | Operation::Permissions { ino, .. }
            | Operation::Fsync { ino }
            | Operation::FsyncDirectory { ino } => self.path(*ino),
        }
    }

    fn insert(&mut self, ino: Ino, parent: Ino, name: &str, directory: bool, mode: u32) {
        let node = Node::new(parent, name, directory, mode);
        self.nodes.insert(ino, node);
        self.names(parent).insert(name.to_owned(), ino);
        self.next = self.next.max(ino + 1);
    }

    fn names(&mut self, directory: Ino) -> &mut BTreeMap<String, Ino> {
        let names = self.node_mut(directory).names.as_mut();
        names.expect("the kernel looks up names in directories only")
    }

    /// Whether it can be done.
    pub(crate) fn check(&self, operation: &Operation) -> Result<(), Refused> {
        match operation {
            Operation::Create { parent, name, .. } => match self.child(*parent, name) {
                Some(_) => Err(libc::EEXIST),
                None => Ok(()),
            },
            Operation::Unlink { parent, name } => {
                let ino = self.child(*parent, name).ok_or(libc::ENOENT)?;
                self.must_be_empty(ino)
            }
            Operation::Rename { from, to } => {
                self.child(from.0, &from.1).ok_or(libc::ENOENT)?;
                self.child(to.0, &to.1)
                    .map_or(Ok(()), |ino| self.must_be_empty(ino))
            }
            _ => Ok(()),
        }
    }

    fn must_be_empty(&self, ino: Ino) -> Result<(), Refused> {
        match &self.node(ino).names {
            Some(names) if !names.is_empty() => Err(libc::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    /// Does what [`Tree::check`] allows.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create {
                ino,
                parent,
                name,
                directory,
                mode,
            } => self.insert(*ino, *parent, name, *directory, *mode),
            Operation::Unlink { parent, name } => {
                self.names(*parent).remove(name);
            }
            Operation::Rename { from, to } => {
                if let Some(ino) = self.names(from.0).remove(&from.1) {
                    self.names(to.0).insert(to.1.clone(), ino);
                    let node = self.node_mut(ino);
                    (node.parent, node.name) = to.clone();
                }
            }
            Operation::Write { ino, offset, data } => {
                let node = self.node_mut(*ino);
                let end = offset + data.len();
                node.content.resize(node.content.len().max(end), 0);
                node.content[*offset..end].copy_from_slice(data);
                node.modified = SystemTime::now();
            }
            Operation::Truncate { ino, size } => {
                let node = self.node_mut(*ino);
                node.content.resize(*size, 0);
                node.modified = SystemTime::now();
            }
            // A node without a name in this tree: its name was lost.
            Operation::Permissions { ino, mode } => {
                if let Some(node) = self.nodes.get_mut(ino) {
                    node.mode = *mode;
                }
            }
            Operation::Fsync { .. } | Operation::FsyncDirectory { .. } => {}
        }
    }
}

impl Node {
    fn new(parent: Ino, name: &str, directory: bool, mode: u32) -> Node {
        Node {
            parent,
            name: name.to_owned(),
            names: directory.then(BTreeMap::new),
            content: Vec::new(),
            mode,
            modified: SystemTime::now(),
        }
    }
}
