//! Where the databases are that are compared.

use std::path::PathBuf;

use harness::{Metrics, Node, PlainDirectory, Stage, await_same_position};

/// A plain directory, a node alone, a primary and its replica.
#[derive(Debug)]
pub(crate) struct Places {
    plain: PlainDirectory,
    alone: Node,
    primary: Node,
    replica: Node,
    /// Goes last.
    _stage: Stage,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The measure of all things.
    Plain,
    /// A primary nobody follows.
    Alone,
    /// A primary with a live replica.
    Primary,
    /// That replica.
    Replica,
}

impl Places {
    /// Starts the nodes.
    pub(crate) fn start(stage: Stage) -> Places {
        let plain = PlainDirectory::new(&stage, "plain");
        let mut alone = Node::primary(&stage, "alone");
        let mut primary = Node::primary(&stage, "primary");
        let mut replica = Node::replica(&stage, "replica", &primary);
        alone.start();
        primary.start();
        replica.start();
        Places {
            plain,
            alone,
            primary,
            replica,
            _stage: stage,
        }
    }

    /// The database `name` in a place.
    pub(crate) fn database(&self, place: Place, name: &str) -> PathBuf {
        self.node(place)
            .map_or_else(|| self.plain.database(name), |node| node.database(name))
    }

    /// The counters of a place, if it has any.
    pub(crate) fn metrics(&self, place: Place) -> Option<Metrics> {
        self.node(place).map(|node| node.api().metrics())
    }

    /// Waits until the replica has everything.
    pub(crate) fn settle(&self, name: &str) {
        await_same_position(&self.primary, &self.replica, name);
    }

    /// Stops the nodes, and checks that they end well.
    pub(crate) fn stop(&mut self) {
        self.replica.stop();
        self.primary.stop();
        self.alone.stop();
    }

    fn node(&self, place: Place) -> Option<&Node> {
        match place {
            Place::Plain => None,
            Place::Alone => Some(&self.alone),
            Place::Primary => Some(&self.primary),
            Place::Replica => Some(&self.replica),
        }
    }
}
