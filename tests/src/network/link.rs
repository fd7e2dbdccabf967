//! What one direction between two hosts is like.

use std::time::Duration;

/// One direction between two hosts. By default everything arrives at once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// Nothing arrives.
    pub cut: bool,
    /// How long a packet takes. Packets do not overtake each other unless this gets shorter.
    pub latency: Duration,
    /// Which share of the packets is lost, 0 to 1.
    pub loss: f64,
}
