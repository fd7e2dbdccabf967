//! What judges a peer's messages without network and store, as bodies of fuzz targets: any bytes, which are read as
//! messages one after the other, each with its length before it as in a protobuf stream.

mod from_primary;
mod from_replica;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message;
use store::Epoch;

pub use from_primary::from_primary;
pub use from_replica::from_replica;

use crate::hello::Introduction;

/// What a node says of itself that the hellos of the seeds are for.
fn introduction(node_id: u64) -> Introduction {
    Introduction {
        cluster: None,
        node_id,
        instance_id: 100 + node_id,
        hostname: format!("node{node_id}"),
        epoch: Epoch::new(5),
    }
}

/// The next message; none at the end, and behind what is no message.
fn next<M: Message + Default>(bytes: &mut Bytes) -> Option<M> {
    if bytes.is_empty() {
        return None;
    }
    M::decode_length_delimited(bytes).ok()
}
