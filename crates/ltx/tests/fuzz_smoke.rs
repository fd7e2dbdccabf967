//! The bodies of the fuzz targets over the golden files and mutations of them.

#[path = "../fuzz/bodies/indexed_reader.rs"]
mod indexed_reader;
#[path = "../fuzz/bodies/reader.rs"]
mod reader;

use std::path::Path;

use mutation::{Counting, Smoke, seeds_in};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SMOKE: Smoke = Smoke {
    mutations: 100_000,
    longest: 16 << 10,
    // The frame format of LZ4 lets a file ask for blocks of 8 MiB; a compaction's output is kept by the body.
    memory: (20 << 20, 256),
};

fn golden() -> Vec<Vec<u8>> {
    seeds_in(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"),
        12 << 10,
    )
}

#[test]
fn reader() {
    SMOKE.run(&golden(), reader::run);
}

#[test]
fn indexed_reader() {
    SMOKE.run(&golden(), indexed_reader::run);
}
