//! `faultfs FROM POINT`: the file system of tests of crashes and faults, see `harness::faultfs`.

use std::path::Path;

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let from = arguments.next().context("where the content is")?;
    let point = arguments.next().context("where to mount")?;
    harness::faultfs::serve(Path::new(&from), Path::new(&point))
}
