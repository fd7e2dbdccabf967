//! The bodies of the fuzz targets over files that SQLite has written and mutations of them.

#[path = "../fuzz/bodies/journal.rs"]
mod journal;
#[path = "../fuzz/bodies/wal.rs"]
mod wal;
#[path = "../fuzz/bodies/wal_index.rs"]
mod wal_index;

use std::path::Path;

use mutation::{Counting, Smoke, seeds_in};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SMOKE: Smoke = Smoke {
    mutations: 100_000,
    longest: 64 << 10,
    // The largest page, and the largest page again with the header of its frame.
    memory: (512 << 10, 4),
};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    seeds_in(&directory.join(target), u64::MAX)
}

#[test]
fn journal() {
    SMOKE.run(&seeds("journal"), journal::run);
}

#[test]
fn wal() {
    SMOKE.run(&seeds("wal"), wal::run);
}

#[test]
fn wal_index() {
    let smoke = Smoke {
        mutations: 10_000,
        longest: 96 << 10,
        ..SMOKE
    };
    smoke.run(&seeds("wal_index"), wal_index::run);
}
