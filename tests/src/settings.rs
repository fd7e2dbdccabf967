//! The configuration file of a node.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is written into `litefs.yml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mount point.
    pub mount: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Where the HTTP interface and the stream listen.
    pub listen: Ipv4Addr,
    /// Port of the HTTP interface and the stream.
    pub port: u16,
    /// Host name of the primary: what `.primary` shows on the replicas.
    pub hostname: String,
    /// Address of the primary with a static lease, else of this node.
    pub advertised_address: Ipv4Addr,
    /// Port of the primary with a static lease, else of this node.
    pub advertised_port: u16,
    /// Whether this is the primary, with a static lease; else whether it may become one.
    pub candidate: bool,
    /// Where the role comes from.
    pub lease: LeaseSettings,
    /// Whether the kernel may go to the backing files by itself.
    pub passthrough: bool,
    /// How long LTX files are kept, as Go writes durations.
    pub retention: Option<String>,
    /// How often they are looked at, as Go writes durations.
    pub retention_monitor_interval: Option<String>,
}

impl Settings {
    /// As LiteFS's configuration file has it.
    pub fn yaml(&self) -> String {
        let mut text = format!(
            "fuse:\n  dir: {mount:?}\n  allow-other: true\n  passthrough: {passthrough}\ndata:\n  dir: {data:?}\n",
            mount = self.mount,
            passthrough = self.passthrough,
            data = self.data,
        );
        if let Some(retention) = &self.retention {
            text += &format!("  retention: {retention}\n");
        }
        if let Some(interval) = &self.retention_monitor_interval {
            text += &format!("  retention-monitor-interval: {interval}\n");
        }
        text += &format!(
            "http:\n  addr: \"{listen}:{port}\"\nlease:\n  hostname: {hostname}\n  \
             advertise-url: \"http://{address}:{advertised}\"\n  candidate: {candidate}\n",
            listen = self.listen,
            port = self.port,
            hostname = self.hostname,
            address = self.advertised_address,
            advertised = self.advertised_port,
            candidate = self.candidate,
        );
        text += &self.lease.yaml();
        text += "log:\n  format: text\n";
        text
    }
}

/// Where the role of a node comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseSettings {
    /// It is the candidate's, for ever.
    Static,
    /// From Consul.
    Consul(ConsulLease),
}

/// The keys of a Consul lease. Durations are as Go writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulLease {
    /// Where Consul is, with a token and a prefix if need be.
    pub url: String,
    /// The key of the lease record.
    pub key: String,
    /// How long a lease is good without a renewal.
    pub ttl: String,
    /// How long Consul refuses a lock after a session has gone.
    pub lock_delay: String,
    /// How long a node waits before it tries again to reach its primary, or Consul.
    pub reconnect_delay: String,
    /// Whether the node takes over as soon as it is in sync.
    pub promote: bool,
}

impl ConsulLease {
    /// A lease with the shortest TTL, for quick tests.
    pub fn new(url: impl Into<String>, key: &str) -> ConsulLease {
        ConsulLease {
            url: url.into(),
            key: key.to_owned(),
            ttl: "2s".to_owned(),
            lock_delay: "100ms".to_owned(),
            reconnect_delay: "100ms".to_owned(),
            promote: false,
        }
    }
}

impl LeaseSettings {
    /// What follows on the keys that every lease has.
    fn yaml(&self) -> String {
        match self {
            LeaseSettings::Static => "  type: static\n".to_owned(),
            LeaseSettings::Consul(lease) => format!(
                "  type: consul\n  promote: {promote}\n  reconnect-delay: {reconnect}\n  consul:\n    url: {url:?}\n    \
                 key: {key:?}\n    ttl: {ttl}\n    lock-delay: {delay}\n",
                promote = lease.promote,
                reconnect = lease.reconnect_delay,
                url = lease.url,
                key = lease.key,
                ttl = lease.ttl,
                delay = lease.lock_delay,
            ),
        }
    }
}
