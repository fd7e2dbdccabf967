use std::io::Read;

use crate::{Header, Reader, Result, Trailer};

/// Reads a whole file and checks everything that can be checked without the database it applies to. `r` must end
/// where the file ends. Memory is bounded as that of a [`Reader`] is.
///
/// # Errors
///
/// The first thing that is wrong with the file.
pub fn verify<R: Read>(r: R) -> Result<(Header, Trailer)> {
    let mut reader = Reader::new(r)?;
    let mut page = Vec::new();
    while reader.next_page(&mut page)?.is_some() {}
    let header = *reader.header();
    Ok((header, reader.finish()?))
}
