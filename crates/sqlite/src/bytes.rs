//! Reads of fixed-width fields out of byte slices whose length was checked.

use crate::Error;

/// The first `N` bytes of `bytes`, or [`Error::Short`] naming `what`.
pub(crate) fn prefix<'a, const N: usize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<&'a [u8; N], Error> {
    bytes.first_chunk().ok_or(Error::Short {
        what,
        need: N,
        got: bytes.len(),
    })
}

/// The `N` bytes at `at` of a structure of `SIZE` bytes; the offset is a constant of the format.
pub(crate) fn field<const N: usize, const SIZE: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// The big-endian 32-bit integer at `at`.
pub(crate) fn be32<const SIZE: usize>(bytes: &[u8; SIZE], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}
