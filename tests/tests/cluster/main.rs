//! Clusters with a real Consul, real mounts and SQLite in other processes, each node in a network host of its own, under
//! load and disturbed: what must hold afterwards is in `harness::history`.

mod consul_away;
mod disturbed;
mod eligibility;
mod failover;
mod figures;
mod full_disk;
mod handoffs;
mod locked;
mod partitions;
mod paused;
mod random;
mod sigterm;
mod trial;
mod worker;
