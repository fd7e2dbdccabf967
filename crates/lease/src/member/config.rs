//! How a member behaves where the rules leave it open.

use std::time::Duration;

/// How a member behaves. Its TTL is the lease store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// By how much it stops committing before the TTL is over, counted from before the last renewal was sent. `None`:
    /// 2% of the TTL and 300 ms.
    pub margin: Option<Duration>,
    /// After what went wrong it is tried again after this time.
    pub reconnect_delay: Duration,
    /// For how long it does not want to be elected after it was demoted.
    pub demote_delay: Duration,
    /// Once it is in sync it asks the primary for the lease.
    pub promote: bool,
    /// The name that it gives to a cluster of which it is the first primary.
    pub new_cluster_id: String,
}
