//! Reads any bytes by their page index.
#![no_main]

#[path = "../bodies/indexed_reader.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
