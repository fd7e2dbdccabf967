//! A replica that sends anything, to a primary on which things happen in between.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replication::fuzzing::from_replica(bytes));
