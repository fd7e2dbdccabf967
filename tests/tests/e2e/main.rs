//! End to end: real mounts, two or more nodes, SQLite in other processes.
//!
//! One program for all, so that what one test waits for is the time of another. Every test is a function of its own;
//! those that need a mount say so and return where there can be none, except in CI.

mod attached;
mod both;
mod checkpoints;
mod copied;
mod crash_disk;
mod damaged;
mod dev;
mod disk;
mod divergence;
mod django;
mod drop;
mod exclusive;
mod faults;
mod fossil;
mod guard;
mod hot_journal;
mod import;
mod import_refused;
mod journal;
mod kill_loop;
mod large;
mod late_join;
mod lifecycles;
mod long_reader;
mod lost_tail;
mod many;
mod matrix;
mod model;
mod peers;
mod power;
mod reborn;
mod refusal;
mod replica_writes;
mod requests;
mod restart;
mod several;
mod sizes;
mod stale;
mod switches;
mod synchronous;
mod synthetic;
mod writes;
