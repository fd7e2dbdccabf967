//! A network of this test alone: hosts with addresses of their own, between which packets can be cut, delayed and lost.
//!
//! Each host is a network namespace with a loopback and one TUN device. The other ends of all devices are here, and a
//! thread carries the packets from one to the other by the rules of the moment. So it needs neither `netem` nor a
//! packet filter in the kernel, a link can be cut in one direction, and what is cut is silence, as on a real network: no
//! reset, no "unreachable".
//!
//! The namespaces have no names. They end with the last process in them, so nothing can be left behind, and networks of
//! several tests never meet.

mod host;
mod link;
mod switch;

use std::net::Ipv4Addr;
use std::time::Duration;

pub use host::Host;
pub(crate) use host::obstacle;
pub use link::Link;

use switch::Switch;

/// A host of a [`Network`], counted from 0.
pub type HostId = usize;

/// The network. Its threads and devices go when it is dropped.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    switch: Switch,
}

impl Network {
    /// Hosts that all reach each other. `seed` decides which packets are lost, where some are.
    ///
    /// # Panics
    /// If the kernel refuses; ask [`crate::network_available`] first.
    pub fn new(hosts: usize, seed: u64) -> Network {
        let (hosts, devices): (Vec<_>, Vec<_>) = (0..hosts)
            .map(|number| Host::create(address(number)))
            .unzip();
        let addresses = hosts.iter().map(Host::address).collect();
        Network {
            hosts,
            switch: Switch::start(devices, addresses, seed),
        }
    }

    /// One host.
    pub fn host(&self, host: HostId) -> &Host {
        &self.hosts[host]
    }

    /// From now on `link` describes the way `from` one host `to` the other; not the way back.
    pub fn set(&self, from: HostId, to: HostId, link: Link) {
        self.switch.set(from, to, link);
    }

    /// Packets `from` one host `to` the other vanish; the way back stays. A connection is half open then.
    pub fn cut_one_way(&self, from: HostId, to: HostId) {
        self.switch.change(from, to, |link| link.cut = true);
    }

    /// Nothing passes between the two.
    pub fn cut(&self, one: HostId, other: HostId) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing passes between this host and all others.
    pub fn isolate(&self, host: HostId) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.cut(host, other);
        }
    }

    /// The two reach each other again, as fast and as well as before the cut.
    pub fn heal(&self, one: HostId, other: HostId) {
        for (from, to) in [(one, other), (other, one)] {
            self.switch.change(from, to, |link| link.cut = false);
        }
    }

    /// Everybody reaches everybody at once.
    pub fn heal_all(&self) {
        self.set_all(Link::default());
    }

    /// The same in both directions between all hosts.
    pub fn set_all(&self, link: Link) {
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|to| *to != from) {
                self.set(from, to, link);
            }
        }
    }

    /// Each packet takes so long, between all hosts.
    pub fn delay_all(&self, latency: Duration) {
        self.set_all(Link {
            latency,
            ..Link::default()
        });
    }
}

/// The address of a host.
fn address(number: HostId) -> Ipv4Addr {
    let number = u8::try_from(number + 1).expect("few hosts");
    Ipv4Addr::new(10, 77, 0, number)
}
