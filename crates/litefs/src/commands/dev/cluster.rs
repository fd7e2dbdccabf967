//! The nodes together.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::home::Home;
use super::node::Node;

/// All nodes; the first is the primary.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Prepares `count` nodes in `home`, on free ports.
    pub(super) fn prepare(home: &Path, count: u8) -> anyhow::Result<Cluster> {
        let ports = free_ports(count.into()).context("find free ports")?;
        let first = ports.first().copied().unwrap_or_default();
        let primary = format!("http://127.0.0.1:{first}");
        let nodes = ports.iter().zip(1..).map(|(&port, number)| {
            Node::prepare(home, &format!("node{number}"), port, ("node1", &primary))
        });
        Ok(Cluster {
            nodes: nodes.collect::<anyhow::Result<_>>()?,
        })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where the databases are to be opened, node by node.
    pub(super) fn mounts(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Node::mount).collect()
    }

    /// Starts all processes.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Node::start)
    }

    /// Waits until all nodes are ready, the replicas in sync with the primary.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// Waits until the first node ends by itself, and says why.
    pub(super) async fn node_ended(&self) -> anyhow::Error {
        let mut ends: Vec<_> = self
            .nodes
            .iter()
            .map(|node| Box::pin(node.ended()))
            .collect();
        std::future::poll_fn(|context| {
            let mut ready = ends.iter_mut().map(|end| end.as_mut().poll(context));
            ready
                .find(|poll| poll.is_ready())
                .unwrap_or(std::task::Poll::Pending)
        })
        .await
    }

    /// Stops all nodes at the same time.
    pub(super) async fn stop(&mut self) {
        let mut stopping = JoinSet::new();
        for mut node in std::mem::take(&mut self.nodes) {
            stopping.spawn(async move {
                node.stop().await;
                node
            });
        }
        self.nodes = stopping.join_all().await;
    }

    /// Where everything is and what to try.
    pub(super) fn introduction(&self, home: &Home) -> String {
        let mut text = format!(
            "{} nodes in {}\n\n",
            self.nodes.len(),
            home.path().display()
        );
        for (index, node) in self.nodes.iter().enumerate() {
            let role = if index == 0 { "primary" } else { "replica" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {:6} {role}  {}  {}",
                node.name,
                node.mount().display(),
                node.url
            );
        }
        if let (Some(first), Some(last)) = (self.nodes.first(), self.nodes.last()) {
            text.push_str(&suggestions(first, last));
        }
        let fate = if home.is_temporary() {
            "removes the directory"
        } else {
            "keeps the directory"
        };
        let _ = writeln!(
            text,
            "\nEach node's log is beside its mount. Ctrl-C stops the nodes and {fate}.\n"
        );
        text
    }
}

/// Commands to copy, for another terminal.
fn suggestions(primary: &Node, replica: &Node) -> String {
    let (writes, reads) = (primary.mount(), replica.mount());
    let (writes, reads) = (writes.display(), reads.display());
    let program = std::env::args_os()
        .next()
        .unwrap_or_else(|| "litefs".into());
    let program = program.to_string_lossy();
    format!(
        "\nTry in another terminal:\n\n  \
         sqlite3 {writes}/app.db \"PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES ('hello')\"\n  \
         sqlite3 {reads}/app.db \"SELECT * FROM t\"\n  \
         cat {reads}/app.db-pos\n  \
         {program} export -url {} -name app.db /tmp/copy.db\n",
        replica.url
    )
}

/// Ports of the loopback address that nothing listens on now.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    // All are held until the last is found, so that no two are the same.
    let listeners = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<std::io::Result<Vec<_>>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
