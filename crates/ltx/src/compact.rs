use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{Read, Write},
};

use crate::{
    ChecksumTracking, Compression, Error, Header, Pgno, Pos, Reader, Result, Trailer, Writer,
};

/// Merges files with consecutive transactions into one; see [`Compactor`].
///
/// # Errors
///
/// Those of [`Compactor::new`] and [`Compactor::write_to`].
pub fn compact<R: Read, W: Write>(inputs: Vec<R>, output: W) -> Result<(Header, Trailer)> {
    Compactor::new(inputs)?.write_to(output)
}

/// Merges files with consecutive transactions into the one file that does to a database what they do in turn.
///
/// The inputs are merged by page number while they are read: memory is one page and the read buffers of a
/// [`Reader`] per input, and the page index of the output.
///
/// What the output has of a page is the last version that is not cut off by a later, smaller commit size. A page
/// that comes back into a database that shrank and grew again, without being in the file that grew it, is zero, as
/// it is in the database file; so the output can be larger than the inputs, up to the last commit size.
pub struct Compactor<R: Read> {
    inputs: Vec<Input<R>>,
    header: Header,
    tracking: ChecksumTracking,
    /// The smallest commit size. All pages above it were created by the inputs, so none of them may be missing.
    floor: u32,
    compression: Compression,
}

/// One input and the page it is at.
struct Input<R: Read> {
    reader: Reader<R>,
    page: Vec<u8>,
    /// The smallest commit size of this input and the ones after it: pages above were cut off.
    limit: u32,
}

impl<R: Read> Compactor<R> {
    /// Reads the headers of the inputs, which are in the order of their transactions.
    ///
    /// # Errors
    ///
    /// If there is no input, if one is not valid ([`Error::Input`]), or if page sizes or checksum tracking differ or
    /// TXIDs have a gap or overlap.
    pub fn new(inputs: Vec<R>) -> Result<Compactor<R>> {
        let mut opened: Vec<Input<R>> = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.into_iter().enumerate() {
            let reader = Reader::new(input).map_err(|error| of_input(number, error))?;
            if let Some(previous) = opened.last() {
                check_successor(number, &previous.reader, &reader)?;
            }
            let limit = reader.header().commit;
            opened.push(Input {
                reader,
                page: Vec::new(),
                limit,
            });
        }
        let (Some(first), Some(last)) = (opened.first(), opened.last()) else {
            return Err(Error::NoInputs);
        };

        let (min, max) = (first.reader.header(), last.reader.header());
        let header = Header {
            commit: max.commit,
            max_txid: max.max_txid,
            timestamp_ms: max.timestamp_ms,
            // The output comes from no one WAL and no one node.
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: 0,
            ..*min
        };
        let tracking = first.reader.tracking();
        let mut floor = u32::MAX;
        for input in opened.iter_mut().rev() {
            floor = floor.min(input.limit);
            input.limit = floor;
        }
        Ok(Compactor {
            inputs: opened,
            header,
            tracking,
            floor,
            compression: Compression::default(),
        })
    }

    /// Stores the pages of the output this way.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Compactor<R> {
        self.compression = compression;
        self
    }

    /// The header of the output.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Merges the inputs into `output`, checking every input to its end.
    ///
    /// # Errors
    ///
    /// If an input is not valid ([`Error::Input`]) or does not apply to the checksum the one before ends with
    /// ([`Error::NotContiguous`]), or on [`Error::Write`]. What was written is then no valid file: discard it.
    pub fn write_to<W: Write>(self, output: W) -> Result<(Header, Trailer)> {
        let Compactor {
            mut inputs,
            header,
            tracking,
            floor,
            compression,
        } = self;
        let writer = Writer::with_tracking(output, header, tracking)?.with_compression(compression);
        let mut merged = Merged {
            writer,
            floor,
            zeros: Vec::new(),
        };
        merge(&mut inputs, &mut merged)?;

        let mut end: Option<Pos> = None;
        for (number, input) in inputs.into_iter().enumerate() {
            let header = *input.reader.header();
            let trailer = input
                .reader
                .finish()
                .map_err(|error| of_input(number, error))?;
            if let Some(expected) = end.filter(|end| *end != header.pre_pos()) {
                return Err(Error::NotContiguous {
                    number,
                    expected,
                    found: header.pre_pos(),
                });
            }
            end = Some(Pos::new(header.max_txid, trailer.post_apply_checksum));
        }
        let end = end.ok_or(Error::NoInputs)?;
        let (_, trailer) = merged.writer.finish(end.checksum)?;
        Ok((header, trailer))
    }
}

/// Takes the pages of all inputs in ascending order, of equal ones the last input's, which is the newest.
fn merge<R: Read, W: Write>(inputs: &mut [Input<R>], merged: &mut Merged<W>) -> Result<()> {
    let mut heads = BinaryHeap::with_capacity(inputs.len());
    for (number, input) in inputs.iter_mut().enumerate() {
        heads.extend(input.advance(number)?);
    }
    let mut previous = None;
    while let Some(Reverse((pgno, Reverse(number)))) = heads.pop() {
        let input = &mut inputs[number];
        if previous != Some(pgno) && pgno.get() <= input.limit {
            merged.write_page(pgno, &input.page)?;
        }
        previous = Some(pgno);
        heads.extend(input.advance(number)?);
    }
    merged.fill_to(merged.writer.header().commit)
}

/// Page and input, ordered by page and then from the newest input.
type Head = Reverse<(Pgno, Reverse<usize>)>;

impl<R: Read> Input<R> {
    /// Reads the next page.
    fn advance(&mut self, number: usize) -> Result<Option<Head>> {
        let pgno = self
            .reader
            .next_page(&mut self.page)
            .map_err(|error| of_input(number, error))?;
        Ok(pgno.map(|pgno| Reverse((pgno, Reverse(number)))))
    }
}

/// The output, which has every page above the floor.
struct Merged<W: Write> {
    writer: Writer<W>,
    /// The last page that is there or that need not be.
    floor: u32,
    zeros: Vec<u8>,
}

impl<W: Write> Merged<W> {
    fn write_page(&mut self, pgno: Pgno, data: &[u8]) -> Result<()> {
        self.fill_to(pgno.get() - 1)?;
        self.floor = self.floor.max(pgno.get());
        self.writer.write_page(pgno, data)
    }

    /// Writes zeros for the pages above the floor up to `last`.
    fn fill_to(&mut self, last: u32) -> Result<()> {
        let page_size = self.writer.header().page_size;
        while self.floor < last {
            self.floor += 1;
            let Some(pgno) = Pgno::new(self.floor).filter(|pgno| *pgno != page_size.lock_page())
            else {
                continue;
            };
            self.zeros.resize(page_size.bytes(), 0);
            self.writer.write_page(pgno, &self.zeros)?;
        }
        Ok(())
    }
}

/// Whether `next` can follow `previous`, as far as headers tell: the checksums between them are compared at the end.
fn check_successor<R: Read>(number: usize, previous: &Reader<R>, next: &Reader<R>) -> Result<()> {
    let (expected, found) = (previous.header().page_size, next.header().page_size);
    if expected != found {
        return Err(Error::PageSizeMismatch {
            number,
            expected: expected.get(),
            found: found.get(),
        });
    }
    if previous.tracking() != next.tracking() {
        return Err(Error::TrackingMismatch { number });
    }
    let expected = previous.header().max_txid;
    if next.header().pre_pos().txid != expected {
        let expected = Pos::new(expected, crate::Checksum::NONE);
        return Err(Error::NotContiguous {
            number,
            expected,
            found: next.header().pre_pos(),
        });
    }
    Ok(())
}

fn of_input(number: usize, error: Error) -> Error {
    Error::Input {
        number,
        source: Box::new(error),
    }
}
