//! Reads any bytes from front to back, and through a compaction when they are a file.
#![no_main]

#[path = "../bodies/reader.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
