//! A primary and its replicas on this machine.

use std::time::Duration;

use crate::node::Node;
use crate::stage::Stage;

/// Nodes that are up.
#[derive(Debug)]
pub struct Cluster {
    /// Takes the writes.
    pub primary: Node,
    /// Have copies to read.
    pub replicas: Vec<Node>,
    /// Goes last.
    pub stage: Stage,
}

impl Cluster {
    /// A primary and one replica, both ready; none where the machine cannot have mounts.
    #[track_caller]
    pub fn pair(limit: Duration) -> Option<Cluster> {
        Cluster::start(limit, 1, |_| {})
    }

    /// As [`Cluster::pair`], with or without the kernel going to the backing files by itself.
    #[track_caller]
    pub fn pair_with(limit: Duration, passthrough: bool) -> Option<Cluster> {
        Cluster::start(limit, 1, |node| {
            node.settings_mut().passthrough = passthrough
        })
    }

    /// A primary and `replicas` replicas, each with settings changed by `configure`.
    #[track_caller]
    pub fn start(
        limit: Duration,
        replicas: usize,
        configure: impl Fn(&mut Node),
    ) -> Option<Cluster> {
        let stage = Stage::with_mounts(limit)?;
        let mut primary = Node::primary(&stage, "primary");
        configure(&mut primary);
        primary.start();
        let mut cluster = Cluster {
            primary,
            replicas: Vec::new(),
            stage,
        };
        for number in 1..=replicas {
            let mut replica = Node::replica(
                &cluster.stage,
                &format!("replica{number}"),
                &cluster.primary,
            );
            configure(&mut replica);
            replica.start();
            cluster.replicas.push(replica);
        }
        Some(cluster)
    }

    /// The first replica.
    pub fn replica(&self) -> &Node {
        &self.replicas[0]
    }

    /// The first replica, to stop and start.
    pub fn replica_mut(&mut self) -> &mut Node {
        &mut self.replicas[0]
    }

    /// Stops every node and checks that each ends well.
    #[track_caller]
    pub fn stop(&mut self) {
        self.replicas.iter_mut().for_each(Node::stop);
        self.primary.stop();
    }
}
