//! A rollback journal of arbitrary bytes: records lie within the file and do not overlap.
#![no_main]

#[path = "../bodies/journal.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::run(bytes));
