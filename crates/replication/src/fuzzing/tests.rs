//! The bodies of the fuzz targets over the seeds and mutations of them.

use mutation::{Counting, Smoke};

use super::{from_primary, from_replica, seeds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SMOKE: Smoke = Smoke {
    mutations: 30_000,
    longest: 16 << 10,
    // A database in a message is two bytes at least, and many times as many when it is decoded.
    memory: (1 << 20, 300),
};

#[test]
fn whatever_a_primary_sends() {
    SMOKE.run(&seeds::of_primaries(), from_primary);
}

#[test]
fn whatever_a_replica_sends() {
    SMOKE.run(&seeds::of_replicas(), from_replica);
}
