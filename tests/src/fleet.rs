//! Several nodes that are equal: who is the primary is found out, not known.

use std::time::{Duration, Instant};

use crate::consul::Consul;
use crate::network::{HostId, Network};
use crate::node::Node;
use crate::settings::{ConsulLease, LeaseSettings};
use crate::stage::Stage;
use crate::until::{until, within};

/// From a start or a heal until all nodes follow.
const SETTLED: Duration = Duration::from_secs(60);

/// Nodes, what they need, and where they are. Node `i` is host `i` of the network, Consul is the last host.
#[derive(Debug)]
pub struct Fleet {
    /// All nodes, by number. They are called `node0`, `node1` and so on, also as host names.
    pub nodes: Vec<Node>,
    /// Who says which is the primary; none with a static lease.
    pub consul: Option<Consul>,
    /// Between them; none on the loopback of this machine.
    pub network: Option<Network>,
    /// Goes last.
    pub stage: Stage,
}

impl Fleet {
    /// Nodes with a Consul lease, each in a host of its own, started one after the other. `lease` is given the URL of
    /// Consul. None where the machine cannot have it.
    #[track_caller]
    pub fn with_consul(
        limit: Duration,
        nodes: usize,
        seed: u64,
        lease: impl Fn(&str) -> ConsulLease,
    ) -> Option<Fleet> {
        let mut fleet = Fleet::assemble(limit, nodes, seed, lease)?;
        fleet.start_all();
        Some(fleet)
    }

    /// As [`Fleet::with_consul`]; Consul runs, the nodes are not started.
    #[track_caller]
    pub fn assemble(
        limit: Duration,
        nodes: usize,
        seed: u64,
        lease: impl Fn(&str) -> ConsulLease,
    ) -> Option<Fleet> {
        crate::requirement::consul_binary()?;
        let mut fleet = Fleet::bare(limit, nodes + 1, seed)?;
        let network = fleet.network.as_ref().expect("a bare fleet has one");
        let consul = Consul::start(&fleet.stage, Some(network.host(nodes)), true)?;
        let lease = LeaseSettings::Consul(lease(&consul.url()));
        fleet.nodes = (0..nodes)
            .map(|number| {
                let host = network.host(number);
                Node::member(&fleet.stage, &name(number), Some(host), lease.clone())
            })
            .collect();
        fleet.consul = Some(consul);
        Some(fleet)
    }

    /// Nodes with a static lease, each in a host of its own; `node0` is the primary.
    #[track_caller]
    pub fn with_static_lease(limit: Duration, nodes: usize, seed: u64) -> Option<Fleet> {
        let mut fleet = Fleet::bare(limit, nodes, seed)?;
        let network = fleet.network.as_ref().expect("a bare fleet has one");
        let mut primary = None;
        for number in 0..nodes {
            let host = network.host(number);
            let mut node = Node::member(
                &fleet.stage,
                &name(number),
                Some(host),
                LeaseSettings::Static,
            );
            let settings = node.settings_mut();
            settings.candidate = number == 0;
            settings.hostname = name(0);
            let (address, port) =
                *primary.get_or_insert((settings.advertised_address, settings.port));
            (settings.advertised_address, settings.advertised_port) = (address, port);
            fleet.nodes.push(node);
        }
        fleet.start_all();
        Some(fleet)
    }

    fn bare(limit: Duration, hosts: usize, seed: u64) -> Option<Fleet> {
        if !crate::requirement::network_available() {
            return None;
        }
        let stage = Stage::with_mounts(limit)?;
        Some(Fleet {
            nodes: Vec::new(),
            consul: None,
            network: Some(Network::new(hosts, seed)),
            stage,
        })
    }

    /// Starts every node that is not running.
    #[track_caller]
    pub fn start_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| !node.is_running()) {
            node.start();
        }
    }

    /// Stops every node that is running, the primary last.
    #[track_caller]
    pub fn stop_all(&mut self) {
        let primary = self.primary();
        let order = (0..self.nodes.len()).filter(|number| Some(*number) != primary);
        for number in order.chain(primary) {
            if self.nodes[number].is_running() {
                self.nodes[number].stop();
            }
        }
    }

    /// The network.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the fleet has a network")
    }

    /// The host of Consul.
    pub fn consul_host(&self) -> HostId {
        self.nodes.len()
    }

    /// The node that says it is the primary, if exactly one does.
    pub fn primary(&self) -> Option<usize> {
        match self.primaries().as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// All nodes that say so.
    pub fn primaries(&self) -> Vec<usize> {
        let numbers = (0..self.nodes.len()).filter(|number| {
            let node = &self.nodes[*number];
            node.is_running() && node.api().info().is_some_and(|info| info.is_primary)
        });
        numbers.collect()
    }

    /// Waits until exactly one node is the primary.
    #[track_caller]
    pub fn await_primary(&self, deadline: Duration) -> usize {
        self.await_primary_that(deadline, "some", |_| true)
    }

    /// Waits until another node than `old` is the only primary: which, and how long that took.
    #[track_caller]
    pub fn await_other_primary(&self, old: usize, deadline: Duration) -> (usize, Duration) {
        let start = Instant::now();
        let new = self.await_primary_that(deadline, &format!("not node{old}"), |node| node != old);
        (new, start.elapsed())
    }

    #[track_caller]
    fn await_primary_that(
        &self,
        deadline: Duration,
        which: &str,
        wanted: impl Fn(usize) -> bool,
    ) -> usize {
        let found = within(deadline, || self.primary().filter(|number| wanted(*number)));
        found.unwrap_or_else(|| {
            panic!(
                "no primary ({which}) within {deadline:?}; these say they are: {:?}",
                self.primaries()
            )
        })
    }

    /// Waits until one node is the primary and all others that run have the position of `database` that it has.
    #[track_caller]
    pub fn await_settled(&self, database: &str) -> usize {
        let primary = self.await_primary(SETTLED);
        until(SETTLED, "all nodes have the primary's position", || {
            let expected = self.nodes[primary].pos(database);
            let others = self.nodes.iter().filter(|node| node.is_running());
            expected.is_some()
                && others
                    .into_iter()
                    .all(|node| node.pos(database) == expected)
        });
        primary
    }
}

fn name(number: usize) -> String {
    format!("node{number}")
}
