//! Compiles `proto/litefs/v1` without protoc.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!(
        "cargo::rerun-if-changed={}",
        root.join("litefs/v1").display()
    );
    let files = protox::compile(
        ["litefs/v1/handshake.proto", "litefs/v1/replication.proto"],
        [&root],
    )?;
    // `bytes` as Bytes: a chunk that is received is a slice of the buffer it came in.
    tonic_prost_build::configure()
        .bytes(".litefs.v1.Chunk")
        .compile_fds(files)?;
    Ok(())
}
