//! A -wal file of arbitrary bytes: what chains is what would be written again.
#![no_main]

#[path = "../bodies/wal.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
