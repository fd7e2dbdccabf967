//! The page index: where each page is in the file.

use std::io::{self, Read};

use crc_fast::Digest;

use crate::{Pgno, checksum::digest};

/// Bytes of the longest variable-length integer.
const VARINT_MAX: usize = 10;

/// One page in the index.
#[derive(Clone, Copy)]
pub(crate) struct IndexEntry {
    pub(crate) pgno: Pgno,
    /// Where the page header begins.
    pub(crate) offset: u64,
    /// Bytes of the page header and what belongs to it.
    pub(crate) size: u64,
}

impl IndexEntry {
    /// Appends the entry as the file has it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(u64::from(self.pgno.get()), out);
        put_varint(self.offset, out);
        put_varint(self.size, out);
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads one variable-length integer; `None` if it does not fit 64 bits.
pub(crate) fn read_varint(input: &mut impl Read) -> io::Result<Option<u64>> {
    let mut value = 0;
    for place in 0..VARINT_MAX {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if place == VARINT_MAX - 1 && byte[0] > 1 {
            return Ok(None);
        }
        value |= bits << (7 * place);
        if byte[0] < 0x80 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Length and digest of an index, so that one can be compared with the pages that were read without being kept.
pub(crate) struct IndexDigest {
    digest: Digest,
    len: u64,
    pending: Vec<u8>,
}

impl IndexDigest {
    /// Small updates of a digest cost as much as long ones.
    const BATCH: usize = 1024;

    pub(crate) fn new() -> IndexDigest {
        IndexDigest {
            digest: digest(),
            len: 0,
            pending: Vec::new(),
        }
    }

    /// Takes an entry as the file must have it.
    pub(crate) fn push(&mut self, entry: &IndexEntry) {
        let before = self.pending.len();
        entry.encode(&mut self.pending);
        self.len += (self.pending.len() - before) as u64;
        if self.pending.len() >= Self::BATCH {
            self.digest.update(&self.pending);
            self.pending.clear();
        }
    }

    /// Bytes of all entries.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The digest of all entries.
    pub(crate) fn finish(mut self) -> u64 {
        self.digest.update(&self.pending);
        self.digest.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_go_both_ways() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            300,
            0x3fff,
            0x4000,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(read_varint(&mut &bytes[..]).unwrap(), Some(value));
            assert!(read_varint(&mut &bytes[..bytes.len() - 1]).is_err());
        }
        let mut bytes = Vec::new();
        put_varint(300, &mut bytes);
        assert_eq!(bytes, [0xac, 0x02]);
    }

    #[test]
    fn varints_beyond_64_bits_are_refused() {
        let mut over = [0xff; 10];
        over[9] = 0x02;
        assert_eq!(read_varint(&mut &over[..]).unwrap(), None);
        assert_eq!(read_varint(&mut &[0x80; 32][..]).unwrap(), None);
    }

    #[test]
    fn digest_is_that_of_the_encoded_entries() {
        let mut expected = Vec::new();
        let mut index = IndexDigest::new();
        for pgno in 1..1000 {
            let entry = IndexEntry {
                pgno: Pgno::new(pgno).unwrap(),
                offset: u64::from(pgno) * 70,
                size: 70,
            };
            entry.encode(&mut expected);
            index.push(&entry);
        }
        let mut whole = digest();
        whole.update(&expected);
        assert_eq!(index.len(), expected.len() as u64);
        assert_eq!(index.finish(), whole.finalize());
    }
}
