//! The HTTP API of a node: what LiteFS offers under the same paths, plus what an operator needs to see.
//!
//! | request | answer |
//! |---|---|
//! | `GET /info` | the node and its databases as JSON |
//! | `GET /export?name=` | a database as SQLite would store it, at one position |
//! | `POST /import?name=` | replaces a database by the body, in one transaction |
//! | `GET /metrics` | Prometheus text |
//! | `POST /promote` | makes this node the primary |
//! | `POST /handoff?nodeID=` | on the primary: hands over |
//! | `GET /health` | 200 while this node can serve, 503 with the reason otherwise |
//!
//! Every answer names the node (`Litefs-Id`) and, once known, the cluster (`Litefs-Cluster-Id`). Errors are
//! `text/plain`, one line. Answers about a database's content carry its position in `Litefs-Pos`.
//!
//! Invariants:
//!
//! * An export is complete or visibly broken: its length is announced, its last bytes are sent only after the
//!   snapshot was read without an error, and any failure ends the connection.
//! * An import changes nothing unless the whole body arrived and is a database.
//! * Memory per request is bounded, however large the database and however slow the client. So is the number
//!   of exports and imports at a time, and the time for which a client that stands still can hold one.
//! * No call that may block runs on the runtime's own threads.
//!
//! What this crate must not know: FUSE, how roles are decided, and the stream; what it shows of the stream
//! comes through [`ApiConfig`]. It does not authenticate: as with LiteFS, whoever reaches the port may use it.

mod config;
mod control;
mod download;
mod error;
mod export;
mod health;
mod import;
mod info;
mod metrics;
mod query;
mod router;
mod transfer;

pub use config::{ApiConfig, LeaseSummary, ReplicaSummary};
pub use control::{Acting, Control, NotDone};
pub use router::router;
