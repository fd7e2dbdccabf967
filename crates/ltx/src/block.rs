//! A page as an LZ4 block: what version 3 writes.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::PageSize;

/// How a [`Writer`](crate::Writer) stores pages.
///
/// Version 3 has no flag for uncompressed pages, but an LZ4 block may consist of literals alone. So every reader of
/// the format reads both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// LZ4 at its fast level.
    #[default]
    Lz4,
    /// A block of literals: the page as it is, and a few bytes before it.
    None,
}

/// Bytes an encoded page needs at most while it is being encoded.
pub(crate) fn encode_bound(page_size: PageSize) -> usize {
    get_maximum_output_size(page_size.bytes())
}

/// Bytes of the longest LZ4 block that decodes to a page: each sequence of 3 bytes without literals gives at least
/// 4, and each 255 literals cost one byte more. A longer block cannot be valid.
pub(crate) fn decode_bound(page_size: PageSize) -> usize {
    page_size.bytes() + page_size.bytes() / 255 + 16
}

/// The compressor's state, kept from page to page so that a page costs no allocation.
pub(crate) struct BlockEncoder {
    compression: Compression,
    table: CompressTable,
}

impl BlockEncoder {
    pub(crate) fn new(page_size: PageSize, compression: Compression) -> BlockEncoder {
        let table = match page_size.get() {
            65536 => CompressTable::large(),
            _ => CompressTable::small(),
        };
        BlockEncoder { compression, table }
    }

    pub(crate) fn set_compression(&mut self, compression: Compression) {
        self.compression = compression;
    }

    /// Encodes the page into `out`, which has [`encode_bound`] bytes, and gives the size of the block.
    pub(crate) fn encode(&mut self, page: &[u8], out: &mut [u8]) -> Result<usize, BoxError> {
        match self.compression {
            Compression::Lz4 => Ok(compress_into_with_table(page, out, &mut self.table)?),
            Compression::None => Ok(encode_literals(page, out)),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One sequence without a match: the token, the length beyond 15 in steps of 255, the literals. `page` is never
/// shorter than 15 bytes.
fn encode_literals(page: &[u8], out: &mut [u8]) -> usize {
    let beyond = page.len() - 15;
    let steps = beyond / 255;
    out[0] = 0xf0;
    out[1..=steps].fill(255);
    out[1 + steps] = (beyond % 255) as u8;
    let start = 2 + steps;
    out[start..start + page.len()].copy_from_slice(page);
    start + page.len()
}

/// Decodes a block into `page`, which it must fill.
pub(crate) fn decode(block: &[u8], page: &mut [u8]) -> Result<(), BoxError> {
    let len = decompress_into(block, page)?;
    if len == page.len() {
        Ok(())
    } else {
        Err(format!("{len} bytes instead of {}", page.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_decode_to_the_page_and_stay_within_bounds() {
        for bytes in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
            let size = PageSize::new(bytes).unwrap();
            let noise: Vec<u8> = std::iter::successors(Some(88_172_645_463_325_252u64), |x| {
                let x = x ^ (x << 13);
                let x = x ^ (x >> 7);
                Some(x ^ (x << 17))
            })
            .map(|x| x as u8)
            .take(size.bytes())
            .collect();
            for page in [vec![0; size.bytes()], noise] {
                for compression in [Compression::Lz4, Compression::None] {
                    let mut out = vec![0; encode_bound(size)];
                    let len = BlockEncoder::new(size, compression)
                        .encode(&page, &mut out)
                        .unwrap();
                    assert!(len <= decode_bound(size), "{bytes} {compression:?} {len}");
                    let mut back = vec![1; size.bytes()];
                    decode(&out[..len], &mut back).unwrap();
                    assert_eq!(back, page, "{bytes} {compression:?}");
                    assert!(decode(&out[..len], &mut vec![0; size.bytes() + 1]).is_err());
                    assert!(decode(&out[..len], &mut vec![0; size.bytes() - 1]).is_err());
                }
            }
        }
    }
}
