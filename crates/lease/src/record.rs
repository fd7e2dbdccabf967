//! What the lease store holds: the record of the lease and what stands beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The record of a lease that is held: who the primary is, and since when.
///
/// Its first two fields are LiteFS's, so that tools that read its key go on working; a record without the others
/// belongs to a LiteFS node ([`Holder::Foreign`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The primary's host name.
    pub hostname: String,
    /// The base URL of its API.
    pub advertise_url: String,
    /// The number of its data directory.
    #[serde(with = "hex")]
    pub node_id: u64,
    /// The start of its machine, as Linux names it; empty if it cannot be had.
    pub boot_id: String,
    /// The cluster.
    pub cluster_id: String,
    /// Its term.
    pub epoch: u64,
    /// Grows with each renewal, so that others see that it was renewed.
    pub n: u64,
    /// For how long it holds after a renewal, in milliseconds. 0: for ever.
    pub ttl_ms: u64,
}

/// Where a database is in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// Which database of that name.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Its last transaction.
    pub txid: u64,
}

/// Databases by name.
pub type Positions = BTreeMap<String, Place>;

/// What a candidate says of itself before an election.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Post {
    /// The number of its data directory.
    #[serde(with = "hex")]
    pub node_id: u64,
    /// Its host name.
    pub hostname: String,
    /// The base URL of its API.
    pub advertise_url: String,
    /// The highest epoch that it led, or in which it had all that the primary had.
    pub epoch: u64,
    /// The highest epoch that it ever heard of.
    pub seen_epoch: u64,
    /// What it has.
    pub positions: Positions,
    /// What it dropped because the primary said so, see [`Holdings::dropped`](crate::Holdings::dropped).
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    pub dropped: Positions,
    /// Whether it wants to be elected.
    pub willing: bool,
    /// The version of the record that it answers to.
    pub ballot: u64,
}

/// The highest epoch that there ever was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastEpoch {
    /// The epoch.
    pub epoch: u64,
    /// The TTL of its lease, in milliseconds.
    pub ttl_ms: u64,
    /// Its primary had stopped committing before it gave the lease up.
    pub released: bool,
}

/// Numbers as 16 hex digits: JSON's numbers are not exact beyond 2^53.
mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
