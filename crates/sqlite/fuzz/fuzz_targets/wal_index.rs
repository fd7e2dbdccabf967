//! The header of a wal-index, with and without a right checksum.
#![no_main]

#[path = "../bodies/wal_index.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
