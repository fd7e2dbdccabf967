use std::io::{Read, Seek, SeekFrom};

use crate::{
    ChecksumTracking, Error, Header, Result, Trailer, source::read_error,
    trailer::check_post_apply, writer::PAGE_HEADER_SIZE,
};

/// Bytes of the index size and the trailer: what follows the page index.
const TAIL_SIZE: usize = 8 + Trailer::SIZE;

/// Header and trailer of a file, and where the parts between them are.
pub(crate) struct Ends {
    pub(crate) header: Header,
    pub(crate) tracking: ChecksumTracking,
    pub(crate) trailer: Trailer,
    /// Where the last page ends.
    pub(crate) pages_end: u64,
    /// Bytes of the page index, with its zero number.
    pub(crate) index_size: u64,
}

impl Ends {
    /// Where the page index begins: after the page header of zeros.
    pub(crate) fn index_offset(&self) -> u64 {
        self.pages_end + PAGE_HEADER_SIZE as u64
    }

    pub(crate) fn read<R: Read + Seek>(inner: &mut R) -> Result<Ends> {
        let mut bytes = [0; Header::SIZE];
        read_at(inner, 0, &mut bytes)?;
        let (header, tracking) = Header::decode(&bytes)?;

        let len = inner
            .seek(SeekFrom::End(0))
            .map_err(|source| Error::Read { offset: 0, source })?;
        let pages_start = Header::SIZE as u64;
        let tail_offset = len
            .checked_sub(TAIL_SIZE as u64)
            .filter(|offset| *offset >= pages_start)
            .ok_or(Error::Truncated {
                offset: pages_start,
            })?;
        // The zero number at the end of the index, the index size, the trailer.
        let mut tail = [0; 1 + TAIL_SIZE];
        read_at(inner, tail_offset - 1, &mut tail)?;
        let [index_end, tail @ ..] = tail;
        let (index_size, bytes) = split(tail);
        let index_size = u64::from_be_bytes(index_size);
        let trailer = Trailer::decode(bytes);

        let wrong = Error::PageIndex {
            offset: tail_offset,
        };
        let Some(pages_end) = tail_offset
            .checked_sub(index_size)
            .and_then(|index| index.checked_sub(PAGE_HEADER_SIZE as u64))
            .filter(|end| *end >= pages_start && index_size > 0 && index_end == 0)
        else {
            return Err(wrong);
        };
        let mut end_of_pages = [0; PAGE_HEADER_SIZE];
        read_at(inner, pages_end, &mut end_of_pages)?;
        if end_of_pages != [0; PAGE_HEADER_SIZE] || !trailer.file_checksum.is_well_formed() {
            return Err(wrong);
        }
        check_post_apply(trailer.post_apply_checksum, &header, tracking, None)?;
        Ok(Ends {
            header,
            tracking,
            trailer,
            pages_end,
            index_size,
        })
    }
}

/// Reads header and trailer only, whatever `r` is positioned at: a few hundred bytes of a file of any size.
///
/// The pages and the file checksum are not checked, that is for [`verify`](crate::verify). A file that was cut off
/// is told by what surrounds the page index not being there; that this notices every cut is not promised.
///
/// # Errors
///
/// If the file is too short to be one, or if header or trailer are not valid.
pub fn read_ends<R: Read + Seek>(r: &mut R) -> Result<(Header, Trailer)> {
    let ends = Ends::read(r)?;
    Ok((ends.header, ends.trailer))
}

fn split(tail: [u8; TAIL_SIZE]) -> ([u8; 8], [u8; Trailer::SIZE]) {
    (
        std::array::from_fn(|at| tail[at]),
        std::array::from_fn(|at| tail[8 + at]),
    )
}

/// Fills the buffer with what is at `offset`.
pub(crate) fn read_at<R: Read + Seek>(inner: &mut R, offset: u64, buffer: &mut [u8]) -> Result<()> {
    seek_to(inner, offset)?;
    inner
        .read_exact(buffer)
        .map_err(|source| read_error(offset, source))
}

pub(crate) fn seek_to<R: Seek>(inner: &mut R, offset: u64) -> Result<()> {
    match inner.seek(SeekFrom::Start(offset)) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Read { offset, source }),
    }
}
