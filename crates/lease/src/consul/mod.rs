//! A lease in Consul.
//!
//! Every change is one transaction (`/v1/txn`) whose conditions are in it. Consul's session is only garbage collection:
//! it makes the keys of a node that is gone vanish some time later. What the keys are is in `keys.rs`; which
//! calls of the API are used, in `api.rs`.

mod api;
mod candidacy;
mod environment;
mod keys;
mod lease;
mod pieces;
mod publish;
mod server_name;
mod session;
mod tls;
mod transport;
mod url;

pub use environment::ConsulEnvironment;
pub use lease::{ConsulConfig, ConsulLease};
