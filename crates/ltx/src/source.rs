use std::io::{self, BufReader, Read};

use crate::{Error, Result};

/// Bytes read ahead. A compaction has one such buffer per input.
const READ_AHEAD: usize = 16 * 1024;

/// Input of a [`Reader`](crate::Reader): counts bytes and says where an error was.
pub(crate) struct Source<R> {
    inner: BufReader<R>,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R) -> Source<R> {
        Source {
            inner: BufReader::with_capacity(READ_AHEAD, inner),
            offset: 0,
        }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills the buffer.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.inner
            .read_exact(buffer)
            .map_err(|source| read_error(self.offset, source))?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> Result<bool> {
        loop {
            match self.inner.read(&mut [0]) {
                Ok(len) => return Ok(len == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Read {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.offset += len as u64;
        Ok(len)
    }
}

/// The error of a read that began at `offset` and should have found all its bytes.
pub(crate) fn read_error(offset: u64, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated { offset },
        _ => Error::Read { offset, source },
    }
}
