//! The messages of `proto/litefs/v1` as generated: nothing in them has been checked.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]

tonic::include_proto!("litefs.v1");
