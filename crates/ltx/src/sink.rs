use std::io::Write;

use crate::{Error, Result};

/// Bytes collected before they go to the writer: a small transaction is one write.
const BATCH: usize = 64 * 1024;

/// Output of a [`Writer`](crate::Writer): collects bytes and counts them.
pub(crate) struct Sink<W> {
    inner: W,
    /// Room for the bytes collected so far and for what is being encoded; grows up to a batch and one page.
    buffer: Vec<u8>,
    filled: usize,
    written: u64,
    failed: bool,
}

impl<W: Write> Sink<W> {
    pub(crate) fn new(inner: W) -> Sink<W> {
        Sink {
            inner,
            buffer: Vec::new(),
            filled: 0,
            written: 0,
            failed: false,
        }
    }

    /// Bytes taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.written + self.filled as u64
    }

    /// Room for `len` bytes, which become output by [`advance`](Self::advance).
    pub(crate) fn room(&mut self, len: usize) -> Result<&mut [u8]> {
        if self.filled > 0 && self.filled + len > BATCH {
            self.flush_batch()?;
        }
        let end = self.filled + len;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        Ok(&mut self.buffer[self.filled..end])
    }

    /// Takes the first `len` bytes of the room last given.
    pub(crate) fn advance(&mut self, len: usize) {
        self.filled += len;
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(BATCH) {
            self.room(part.len())?.copy_from_slice(part);
            self.advance(part.len());
        }
        Ok(())
    }

    fn flush_batch(&mut self) -> Result<()> {
        if self.failed {
            return Err(Error::Poisoned {
                offset: self.written,
            });
        }
        if let Err(source) = self.inner.write_all(&self.buffer[..self.filled]) {
            self.failed = true;
            return Err(Error::Write {
                offset: self.written,
                source,
            });
        }
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes what is left, flushes the writer and gives it back.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.flush_batch()?;
        self.inner.flush().map_err(|source| Error::Write {
            offset: self.written,
            source,
        })?;
        Ok(self.inner)
    }
}
