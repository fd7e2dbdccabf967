//! The harness of the end-to-end tests: it runs the `litefs` program, mounts and all, and drives SQLite in *other*
//! processes against it.
//!
//! Invariants:
//! - It knows the product from outside only: its command line, its configuration file, its HTTP interface and its
//!   mount. It links none of the product's crates.
//! - The test process itself never opens a database on a mount: POSIX locks belong to a process, and several
//!   connections of one process would hide what two applications do to each other.
//! - Whatever ends a test, panics included, leaves no mount, no process and no file behind, and no test can hang for
//!   ever: a [`Stage`] has a time limit, after which its mounts are aborted and its processes are killed.
//!
//! What a test sees as a failure of the product is a panic with the log of every node.

mod agreement;
mod api;
mod application;
mod binary;
mod checksum;
mod cluster;
mod consul;
mod export;
mod fleet;
mod http;
mod leftovers;
mod listener;
mod metrics;
mod mount;
mod node;
mod permit;
mod plain;
mod pos;
mod process;
mod requirement;
mod settings;
mod shared_table;
mod stage;
mod tmpfs;
mod tool;
mod until;
mod watchdog;

pub mod client;
pub mod faultfs;
pub mod history;
pub mod ledger;
pub mod network;

pub use agreement::{assert_agreement, await_same_position};
pub use api::{Api, Database, Info, Lease, Refusal};
pub use application::{Answer, Service, Web, run_to_end};
pub use binary::{client_binary, litefs_binary, profile_directory};
pub use checksum::database_checksum;
pub use cluster::Cluster;
pub use consul::{Consul, KeyValue};
pub use export::{digest, integrity};
pub use fleet::Fleet;
pub use http::http_client;
pub use leftovers::sweep;
pub use listener::{Listener, free_port};
pub use metrics::Metrics;
pub use mount::{is_mounted, unmount};
pub use node::Node;
pub use plain::PlainDirectory;
pub use pos::Pos;
pub use process::{Ended, processes_tagged, wait_for};
pub use requirement::{
    consul_binary, fuse_available, network_available, program_answers, program_available,
    python_packages,
};
pub use settings::{ConsulLease, LeaseSettings, Settings};
pub use stage::Stage;
pub use tmpfs::Tmpfs;
pub use tool::{litefs, python, sqlite3};
pub use until::{until, until_some, within};
