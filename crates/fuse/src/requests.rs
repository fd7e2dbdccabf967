//! How many requests the kernel sent for applications: what a transaction costs is counted in these.

use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Lookup,
    Getattr,
    Setattr,
    Open,
    Create,
    Read,
    Write,
    Fsync,
    Release,
    Unlink,
    Opendir,
    Readdir,
    Fsyncdir,
    Other,
}

const NAMES: [&str; 14] = [
    "lookup", "getattr", "setattr", "open", "create", "read", "write", "fsync", "release",
    "unlink", "opendir", "readdir", "fsyncdir", "other",
];

/// Counts since the mount.
#[derive(Debug, Default)]
pub(crate) struct Requests([AtomicU64; NAMES.len()]);

impl Requests {
    pub(crate) fn count(&self, op: Op) {
        self.0[op as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Vec<(&'static str, u64)> {
        NAMES
            .iter()
            .zip(&self.0)
            .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
            .collect()
    }
}
