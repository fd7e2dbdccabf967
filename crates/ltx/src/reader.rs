use std::io::Read;

use crc_fast::Digest;

use crate::{
    Checksum, ChecksumTracking, Error, Header, Pgno, Result, Trailer, block,
    checksum::digest,
    frame::{self, FrameError},
    index::{IndexDigest, IndexEntry},
    order::PageOrder,
    page_checksum,
    source::Source,
    trailer::check_post_apply,
    writer::{PAGE_FLAG_SIZE, PAGE_HEADER_SIZE},
};

/// How far a reader has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pages,
    Index,
    Failed,
}

/// Reads one LTX file from front to back and checks all of it.
///
/// `R` must end where the file ends; the reader reads ahead (16 KiB), so `R` needs no buffer of its own. Memory is
/// that buffer and one page, whatever the file says.
///
/// A page is only known to be right when [`finish`](Reader::finish) returned: the checksum is at the end.
pub struct Reader<R: Read> {
    source: Source<R>,
    state: State,
    header: Header,
    tracking: ChecksumTracking,
    order: PageOrder,
    /// Over the file with its pages uncompressed.
    digest: Digest,
    /// The index the file must have.
    index: IndexDigest,
    /// Checksum of the pages of a snapshot.
    pages: Option<Checksum>,
    /// The LZ4 block of a page; later a part of the page index.
    scratch: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads and validates the header.
    ///
    /// # Errors
    ///
    /// If the header is incomplete, not of this format and version, or not valid.
    pub fn new(r: R) -> Result<Reader<R>> {
        let mut source = Source::new(r);
        let bytes = source.array::<{ Header::SIZE }>()?;
        let (header, tracking) = Header::decode(&bytes)?;
        let mut digest = digest();
        digest.update(&bytes);
        let sums_pages = header.is_snapshot() && tracking == ChecksumTracking::Tracked;
        Ok(Reader {
            source,
            state: State::Pages,
            header,
            tracking,
            order: PageOrder::new(&header),
            digest,
            index: IndexDigest::new(),
            pages: sums_pages.then_some(Checksum::EMPTY),
            scratch: Vec::new(),
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the file carries database checksums.
    pub fn tracking(&self) -> ChecksumTracking {
        self.tracking
    }

    /// Reads the next page into `buf`, which then has exactly the page size; `None` after the last.
    ///
    /// # Errors
    ///
    /// If the file ends early, the page cannot be decoded, or is not one the file may have here. `buf` may then hold
    /// anything, and the reader cannot be used any more.
    pub fn next_page(&mut self, buf: &mut Vec<u8>) -> Result<Option<Pgno>> {
        match self.state {
            State::Pages => {}
            State::Index => return Ok(None),
            State::Failed => {
                return Err(Error::Poisoned {
                    offset: self.source.offset(),
                });
            }
        }
        self.state = State::Failed;
        let page = self.read_page(buf)?;
        self.state = if page.is_some() {
            State::Pages
        } else {
            State::Index
        };
        Ok(page)
    }

    fn read_page(&mut self, buf: &mut Vec<u8>) -> Result<Option<Pgno>> {
        let offset = self.source.offset();
        let head = self.source.array::<PAGE_HEADER_SIZE>()?;
        self.digest.update(&head);
        let (pgno, flags) = match decode_page_header(head, offset)? {
            Some(page_header) => page_header,
            None => {
                self.order.end()?;
                return Ok(None);
            }
        };
        self.order.accept(pgno)?;

        buf.resize(self.header.page_size.bytes(), 0);
        match flags {
            PageForm::Block => self.read_block(pgno, offset, buf)?,
            PageForm::Frame => {
                frame::decode(&mut self.source, buf).map_err(|error| match error {
                    FrameError::Read(source) => Error::Read { offset, source },
                    FrameError::Data(source) => Error::PageData {
                        pgno,
                        offset,
                        source: source.into(),
                    },
                })?
            }
        }
        self.digest.update(buf);
        self.index.push(&IndexEntry {
            pgno,
            offset,
            size: self.source.offset() - offset,
        });
        if let Some(pages) = &mut self.pages {
            *pages = pages.toggled(page_checksum(pgno, buf));
        }
        Ok(Some(pgno))
    }

    fn read_block(&mut self, pgno: Pgno, offset: u64, page: &mut [u8]) -> Result<()> {
        let size = self.source.array::<4>()?;
        self.digest.update(&size);
        let size = u32::from_be_bytes(size) as usize;
        if size > block::decode_bound(self.header.page_size) {
            let source = format!("block of {size} bytes is too long").into();
            return Err(Error::PageData {
                pgno,
                offset,
                source,
            });
        }
        if self.scratch.len() < size {
            self.scratch.resize(size, 0);
        }
        let block = &mut self.scratch[..size];
        self.source.fill(block)?;
        block::decode(block, page).map_err(|source| Error::PageData {
            pgno,
            offset,
            source,
        })
    }

    /// Reads page index and trailer, after the last page, and checks them, the file checksum and that nothing
    /// follows.
    ///
    /// # Errors
    ///
    /// [`Error::PagesLeft`] if [`next_page`](Reader::next_page) has not yet said that there are no more; otherwise
    /// what is wrong with the file.
    pub fn finish(mut self) -> Result<Trailer> {
        let offset = self.source.offset();
        match self.state {
            State::Index => {}
            State::Pages => return Err(Error::PagesLeft { offset }),
            State::Failed => return Err(Error::Poisoned { offset }),
        }
        self.read_index()?;

        let bytes = self.source.array::<{ Trailer::SIZE }>()?;
        let trailer = Trailer::decode(bytes);
        self.digest.update(&bytes[..8]);
        let computed = Checksum::of(&self.digest);
        if computed != trailer.file_checksum {
            return Err(Error::FileChecksum {
                computed,
                stored: trailer.file_checksum,
            });
        }
        check_post_apply(
            trailer.post_apply_checksum,
            &self.header,
            self.tracking,
            self.pages,
        )?;

        let end = self.source.offset();
        if !self.source.at_end()? {
            return Err(Error::TrailingBytes { offset: end });
        }
        Ok(trailer)
    }

    /// Reads the page index, which has one possible content: the length is known before, so nothing of it is kept.
    fn read_index(&mut self) -> Result<()> {
        const PART: usize = 8 * 1024;
        let offset = self.source.offset();
        let mut left = self.index.len();
        let size = left + 1;
        let mut found = digest();
        if self.scratch.len() < PART {
            self.scratch.resize(PART, 0);
        }
        while left > 0 {
            let part = &mut self.scratch[..PART.min(usize::try_from(left).unwrap_or(PART))];
            self.source.fill(part)?;
            self.digest.update(part);
            found.update(part);
            left -= part.len() as u64;
        }
        let end = self.source.array::<9>()?;
        self.digest.update(&end);
        let mut expected_end = [0; 9];
        expected_end[1..].copy_from_slice(&size.to_be_bytes());

        let expected = std::mem::replace(&mut self.index, IndexDigest::new()).finish();
        if found.finalize() != expected || end != expected_end {
            return Err(Error::PageIndex { offset });
        }
        Ok(())
    }
}

/// How the data of a page is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageForm {
    Block,
    Frame,
}

/// The page header in these bytes, `None` if it is the end of the pages.
pub(crate) fn decode_page_header(
    bytes: [u8; PAGE_HEADER_SIZE],
    offset: u64,
) -> Result<Option<(Pgno, PageForm)>> {
    let [a, b, c, d, e, f] = bytes;
    let number = u32::from_be_bytes([a, b, c, d]);
    let flags = u16::from_be_bytes([e, f]);
    match (Pgno::new(number), flags) {
        (None, 0) => Ok(None),
        (Some(pgno), 0) => Ok(Some((pgno, PageForm::Frame))),
        (Some(pgno), PAGE_FLAG_SIZE) => Ok(Some((pgno, PageForm::Block))),
        _ => Err(Error::PageHeader {
            offset,
            pgno: number,
            flags,
        }),
    }
}
