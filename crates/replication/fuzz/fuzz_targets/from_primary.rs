//! A primary that sends anything, to a replica.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replication::fuzzing::from_primary(bytes));
