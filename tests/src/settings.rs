//! The configuration file of a node.

use std::path::PathBuf;

/// What is written into `litefs.yml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mount point.
    pub mount: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// Port of the HTTP interface and the stream, on the loopback interface.
    pub port: u16,
    /// Host name of the primary: what `.primary` shows on the replicas.
    pub hostname: String,
    /// Port of the primary.
    pub primary_port: u16,
    /// Whether this is the primary.
    pub candidate: bool,
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
            "http:\n  addr: \"127.0.0.1:{port}\"\nlease:\n  type: static\n  hostname: {hostname}\n  \
             advertise-url: \"http://127.0.0.1:{primary}\"\n  candidate: {candidate}\nlog:\n  format: text\n",
            port = self.port,
            hostname = self.hostname,
            primary = self.primary_port,
            candidate = self.candidate,
        );
        text
    }
}
