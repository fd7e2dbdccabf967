use std::io::{BufRead, BufReader, Read, Seek};

use crate::{
    ChecksumTracking, Error, Header, Pgno, Result, Trailer, block,
    ends::{Ends, read_at, seek_to},
    frame,
    index::read_varint,
    order::PageOrder,
    reader::{PageForm, decode_page_header},
    source::read_error,
    writer::{BLOCK_HEADER_SIZE, PAGE_HEADER_SIZE},
};

/// Where a page is. It ends where the next one begins.
struct Place {
    pgno: Pgno,
    offset: u64,
}

/// Reads single pages of an LTX file by its page index.
///
/// Opening reads header, page index and trailer; memory is 16 bytes per page. The file checksum is not checked,
/// since that takes the whole file ([`verify`](crate::verify)): use it on files that were verified when they came.
/// What is checked is that the index fits the file and that each page read is the one it says.
pub struct IndexedReader<R: Read + Seek> {
    inner: R,
    ends: Ends,
    places: Vec<Place>,
    scratch: Vec<u8>,
}

impl<R: Read + Seek> IndexedReader<R> {
    /// Reads header, page index and trailer.
    ///
    /// # Errors
    ///
    /// If one of them is not valid, or if the index does not describe pages that lie side by side between the header
    /// and itself and that the file may have.
    pub fn new(mut inner: R) -> Result<IndexedReader<R>> {
        let ends = Ends::read(&mut inner)?;
        let places = read_places(&mut inner, &ends)?;
        Ok(IndexedReader {
            inner,
            ends,
            places,
            scratch: Vec::new(),
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.ends.header
    }

    /// Whether the file carries database checksums.
    pub fn tracking(&self) -> ChecksumTracking {
        self.ends.tracking
    }

    /// The trailer.
    pub fn trailer(&self) -> &Trailer {
        &self.ends.trailer
    }

    /// The pages of the file, ascending.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = Pgno> + '_ {
        self.places.iter().map(|place| place.pgno)
    }

    /// Reads a page into `buf`, which then has exactly the page size; `false` if the file does not have the page.
    ///
    /// # Errors
    ///
    /// If what is at its place is not that page or cannot be decoded. Other pages can still be read.
    pub fn page(&mut self, pgno: Pgno, buf: &mut Vec<u8>) -> Result<bool> {
        let Ok(at) = self.places.binary_search_by_key(&pgno, |place| place.pgno) else {
            return Ok(false);
        };
        let offset = self.places[at].offset;
        let end = self
            .places
            .get(at + 1)
            .map_or(self.ends.pages_end, |next| next.offset);
        self.scratch.resize((end - offset) as usize, 0); // at most max_size, see read_places
        read_at(&mut self.inner, offset, &mut self.scratch)?;

        buf.resize(self.ends.header.page_size.bytes(), 0);
        self.decode_page(pgno, offset, buf)?;
        Ok(true)
    }

    /// Decodes what `scratch` has from the place of the page.
    fn decode_page(&self, pgno: Pgno, offset: u64, page: &mut [u8]) -> Result<()> {
        let data_error = |source| Error::PageData {
            pgno,
            offset,
            source,
        };
        let (head, data) = self
            .scratch
            .split_first_chunk::<PAGE_HEADER_SIZE>()
            .ok_or(Error::Truncated { offset })?;
        let form = match decode_page_header(*head, offset)? {
            Some((found, form)) if found == pgno => form,
            _ => {
                return Err(Error::PageIndex {
                    offset: self.ends.index_offset(),
                });
            }
        };
        match form {
            PageForm::Block => {
                let (size, block) = data
                    .split_first_chunk::<4>()
                    .ok_or(Error::Truncated { offset })?;
                if u32::from_be_bytes(*size) as usize != block.len() {
                    return Err(data_error("block does not fill its place".into()));
                }
                block::decode(block, page).map_err(data_error)
            }
            PageForm::Frame => {
                let mut left = data;
                frame::decode(&mut left, page)
                    .map_err(|error| data_error(error.into_inner().into()))?;
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(data_error("frame does not fill its place".into()))
                }
            }
        }
    }
}

/// Reads the page index behind the end of the pages. Grows with what is really there, not with what a field says.
fn read_places<R: Read + Seek>(inner: &mut R, ends: &Ends) -> Result<Vec<Place>> {
    let Ends {
        header,
        pages_end,
        index_size,
        ..
    } = *ends;
    let index_offset = ends.index_offset();
    let wrong = || Error::PageIndex {
        offset: index_offset,
    };
    // A page that does not shrink has a few bytes more than itself, as a frame a few more.
    let max_size = 2 * u64::from(header.page_size.get()) + 1024;
    let min_size = BLOCK_HEADER_SIZE as u64;
    let mut order = PageOrder::new(&header);
    let mut places = Vec::new();
    let mut next = Header::SIZE as u64;
    seek_to(inner, index_offset)?;
    let mut input = BufReader::new(inner.take(index_size));
    let mut number = || {
        read_varint(&mut input)
            .map_err(|source| read_error(index_offset, source))?
            .ok_or_else(wrong)
    };
    loop {
        let pgno = match u32::try_from(number()?).map(Pgno::new) {
            Ok(Some(pgno)) => pgno,
            Ok(None) => break,
            Err(_) => return Err(wrong()),
        };
        let (offset, size) = (number()?, number()?);
        if offset != next || !(min_size..=max_size).contains(&size) {
            return Err(wrong());
        }
        order.accept(pgno)?;
        next += size;
        if next > pages_end {
            return Err(wrong());
        }
        places.push(Place { pgno, offset });
    }
    order.end()?;
    let at_end = input
        .fill_buf()
        .map_err(|source| read_error(index_offset, source))?
        .is_empty();
    if next != pages_end || !at_end {
        return Err(wrong());
    }
    Ok(places)
}
