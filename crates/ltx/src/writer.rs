use std::io::Write;

use crc_fast::Digest;

use crate::{
    Checksum, ChecksumTracking, Compression, Error, Header, Pgno, Result, Trailer,
    block::{self, BlockEncoder},
    checksum::digest,
    index::IndexEntry,
    order::PageOrder,
    page_checksum,
    sink::Sink,
    trailer::check_post_apply,
};

/// Bytes of a page header.
pub(crate) const PAGE_HEADER_SIZE: usize = 6;

/// Bytes of a page header and the block size after it.
pub(crate) const BLOCK_HEADER_SIZE: usize = 10;

/// Flag of a page header: a size and an LZ4 block follow, and not an LZ4 frame.
pub(crate) const PAGE_FLAG_SIZE: u16 = 1;

/// Writes one LTX file.
///
/// The writer collects its output in batches of 64 KiB, so `W` needs no buffer of its own, and a small transaction
/// is a single write. A page costs no allocation; the page index is kept in memory until the end, about 10 bytes
/// per page. Until [`finish`](Writer::finish) returned, what was written is no valid file.
pub struct Writer<W: Write> {
    sink: Sink<W>,
    header: Header,
    tracking: ChecksumTracking,
    order: PageOrder,
    encoder: BlockEncoder,
    /// Over the file with its pages uncompressed.
    digest: Digest,
    /// The page index as the file will have it.
    index: Vec<u8>,
    /// Checksum of the pages of a snapshot.
    pages: Option<Checksum>,
}

impl<W: Write> Writer<W> {
    /// Begins a file with this header.
    ///
    /// # Errors
    ///
    /// If the header is not valid ([`Header::validate`]).
    pub fn new(w: W, header: Header) -> Result<Writer<W>> {
        Writer::with_tracking(w, header, ChecksumTracking::Tracked)
    }

    /// Begins a file that may carry no database checksums.
    ///
    /// # Errors
    ///
    /// If the header is not valid, or has a pre-apply checksum although checksums are untracked.
    pub fn with_tracking(w: W, header: Header, tracking: ChecksumTracking) -> Result<Writer<W>> {
        header.validate_as(tracking)?;
        let bytes = header.encode(tracking);
        let mut digest = digest();
        digest.update(&bytes);
        let mut sink = Sink::new(w);
        sink.push(&bytes)?;
        let sums_pages = header.is_snapshot() && tracking == ChecksumTracking::Tracked;
        Ok(Writer {
            sink,
            header,
            tracking,
            order: PageOrder::new(&header),
            encoder: BlockEncoder::new(header.page_size, Compression::default()),
            digest,
            index: Vec::new(),
            pages: sums_pages.then_some(Checksum::EMPTY),
        })
    }

    /// Stores the pages to come this way.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Writer<W> {
        self.encoder.set_compression(compression);
        self
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes a page: above the ones before, not the lock page, and in a snapshot without a gap.
    ///
    /// # Errors
    ///
    /// A page that breaks a rule is refused and changes nothing. After [`Error::Write`] the file is lost.
    pub fn write_page(&mut self, pgno: Pgno, data: &[u8]) -> Result<()> {
        let page_size = self.header.page_size;
        if data.len() != page_size.bytes() {
            return Err(Error::PageLength {
                pgno,
                len: data.len(),
                page_size: page_size.get(),
            });
        }
        self.order.accept(pgno)?;

        let room = self
            .sink
            .room(BLOCK_HEADER_SIZE + block::encode_bound(page_size))?;
        let (head, out) = room.split_at_mut(BLOCK_HEADER_SIZE);
        let len = match self.encoder.encode(data, out) {
            Ok(len) => len,
            Err(source) => {
                return Err(Error::PageData {
                    pgno,
                    offset: self.sink.offset(),
                    source,
                });
            }
        };
        head[0..4].copy_from_slice(&pgno.get().to_be_bytes());
        head[4..6].copy_from_slice(&PAGE_FLAG_SIZE.to_be_bytes());
        head[6..10].copy_from_slice(&(len as u32).to_be_bytes());
        self.digest.update(head);
        self.digest.update(data);

        let size = BLOCK_HEADER_SIZE + len;
        IndexEntry {
            pgno,
            offset: self.sink.offset(),
            size: size as u64,
        }
        .encode(&mut self.index);
        self.sink.advance(size);
        if let Some(pages) = &mut self.pages {
            *pages = pages.toggled(page_checksum(pgno, data));
        }
        Ok(())
    }

    /// Writes page index and trailer, flushes the writer and gives it back. Syncing it is for the caller.
    ///
    /// # Errors
    ///
    /// If a snapshot is not complete, if the post-apply checksum cannot be that of the database (a snapshot's pages
    /// have it, commit size 0 means [`Checksum::EMPTY`], untracked means [`Checksum::NONE`]), or on
    /// [`Error::Write`].
    pub fn finish(mut self, post_apply_checksum: Checksum) -> Result<(W, Trailer)> {
        self.order.end()?;
        check_post_apply(post_apply_checksum, &self.header, self.tracking, self.pages)?;

        self.push_hashed(&[0; PAGE_HEADER_SIZE])?;
        let mut index = std::mem::take(&mut self.index);
        index.push(0);
        let size = index.len() as u64;
        self.push_hashed(&index)?;
        self.push_hashed(&size.to_be_bytes())?;
        self.push_hashed(&post_apply_checksum.get().to_be_bytes())?;

        let file_checksum = Checksum::of(&self.digest);
        self.sink.push(&file_checksum.get().to_be_bytes())?;
        Ok((
            self.sink.finish()?,
            Trailer {
                post_apply_checksum,
                file_checksum,
            },
        ))
    }

    fn push_hashed(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.sink.push(bytes)
    }
}
