use std::io::{self, Read, Seek, SeekFrom};

use ltx::Pgno;

use super::{Journal, JournalHeader};
use crate::Error;
use crate::bytes::be32;

/// A page number and a checksum, around the page.
const AROUND_PAGE: usize = 8;

/// One record: a page as it was before the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// The page.
    pub pgno: Pgno,
    /// Where in the journal its old content is, in bytes from the start; it is one page long.
    pub offset_of_page: u64,
    /// Whether the checksum matches. It is false only for pages behind the initial size of the database: SQLite
    /// skips these unread, any other mismatch ends the journal before the record.
    pub checksum_ok: bool,
}

/// The records of a journal, read one by one. Ends where SQLite's playback would end: at a record that is
/// incomplete, has page number 0 or that of the lock page, or does not match its checksum, and behind the last
/// segment.
///
/// One thing is read differently from a hot journal: in a last segment that counts 0 records, those present are
/// reported as long as their checksums match, as SQLite does when it rolls back its own transaction.
///
/// An error ends the iteration.
#[derive(Debug)]
pub struct Records<'a, F> {
    journal: &'a mut Journal<F>,
    /// The segment being read; `None` at the end.
    segment: Option<Segment>,
    /// The initial size in pages that SQLite goes by, that of the first segment.
    initial_page_count: u32,
    /// One record: page number, page, checksum.
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    header: JournalHeader,
    /// The records still to be read.
    left: u64,
    /// Where the next one is.
    offset: u64,
    /// The count is a guess from the size of the file.
    uncounted: bool,
}

impl<'a, F: Read + Seek> Records<'a, F> {
    pub(super) fn new(
        journal: &'a mut Journal<F>,
        header: Option<JournalHeader>,
    ) -> Records<'a, F> {
        let mut records = Records {
            journal,
            segment: None,
            initial_page_count: 0,
            buffer: Vec::new(),
        };
        if let Some(header) = header {
            records.initial_page_count = header.initial_page_count;
            records.buffer = vec![0; header.page_size.bytes() + AROUND_PAGE];
            records.segment = Some(Segment {
                header,
                left: 0,
                offset: 0,
                uncounted: false,
            });
        }
        records
    }

    /// The old content of the page of the record that was returned last.
    pub fn page(&self) -> &[u8] {
        self.buffer
            .get(4..self.buffer.len() - 4)
            .unwrap_or_default()
    }

    fn next_record(&mut self) -> Result<Option<JournalRecord>, Error> {
        while let Some(segment) = self.segment.as_mut() {
            if segment.left > 0 {
                segment.left -= 1;
                let segment = *segment;
                return self.read_record(segment);
            }
            let (header, offset) = (segment.header, segment.offset);
            self.segment = self.read_segment(header, offset)?;
        }
        Ok(None)
    }

    /// The segment that begins at the next sector boundary at or behind `offset`.
    fn read_segment(&mut self, last: JournalHeader, offset: u64) -> Result<Option<Segment>, Error> {
        let sector = u64::from(last.sector_size);
        let offset = offset.next_multiple_of(sector);
        let Some(header) = self.read_header(last, offset)? else {
            return Ok(None);
        };
        let first = offset + sector;
        let to_end = (self.journal.size - first) / self.buffer.len() as u64;
        let uncounted = header.records == 0 && self.read_header(last, first)?.is_none();
        let left = match header.records {
            0 if uncounted => to_end,
            JournalHeader::RECORDS_TO_END => to_end,
            counted => counted.into(),
        };
        self.journal
            .file
            .seek(SeekFrom::Start(first))
            .map_err(|source| Error::JournalRead {
                offset: first,
                source,
            })?;
        Ok(Some(Segment {
            header,
            left,
            offset: first,
            uncounted,
        }))
    }

    /// The header at `offset`, if the file has a whole sector there and the magic is right.
    fn read_header(
        &mut self,
        last: JournalHeader,
        offset: u64,
    ) -> Result<Option<JournalHeader>, Error> {
        if offset + u64::from(last.sector_size) > self.journal.size {
            return Ok(None);
        }
        let mut bytes = [0; JournalHeader::SIZE];
        match self.journal.read_at(offset, &mut bytes) {
            Ok(()) => Ok(last.parse_next(&bytes)),
            Err(error) => shrunk(error).map(|()| None),
        }
    }

    /// Reads the record at the segment's offset, where the file is positioned.
    fn read_record(&mut self, segment: Segment) -> Result<Option<JournalRecord>, Error> {
        self.segment = None;
        let offset = segment.offset;
        let end = offset + self.buffer.len() as u64;
        if end > self.journal.size {
            return Ok(None);
        }
        if let Err(source) = self.journal.file.read_exact(&mut self.buffer) {
            return shrunk(Error::JournalRead { offset, source }).map(|()| None);
        }
        let (Some(&pgno), Some(&stored)) = (self.buffer.first_chunk(), self.buffer.last_chunk())
        else {
            return Ok(None);
        };
        let lock_page = segment.header.page_size.lock_page();
        let Some(pgno) = Pgno::new(be32::<4>(&pgno, 0)).filter(|&pgno| pgno != lock_page) else {
            return Ok(None);
        };
        let checksum_ok = checksum(segment.header.nonce, self.page()) == be32::<4>(&stored, 0);
        let skipped = pgno.get() > self.initial_page_count && !segment.uncounted;
        if !checksum_ok && !skipped {
            return Ok(None);
        }
        self.segment = Some(Segment {
            offset: end,
            ..segment
        });
        Ok(Some(JournalRecord {
            pgno,
            offset_of_page: offset + 4,
            checksum_ok,
        }))
    }
}

impl<F: Read + Seek> Iterator for Records<'_, F> {
    type Item = Result<JournalRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.next_record();
        if record.is_err() {
            self.segment = None;
        }
        record.transpose()
    }
}

impl<F: Read + Seek> std::iter::FusedIterator for Records<'_, F> {}

/// A file that became shorter than it was ends the journal, as a short read ends SQLite's playback.
fn shrunk(error: Error) -> Result<(), Error> {
    match error {
        Error::JournalRead { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(())
        }
        error => Err(error),
    }
}

/// The nonce and every 200th byte of the page, counted from behind its end. (No page size is a multiple of 200.)
fn checksum(nonce: u32, page: &[u8]) -> u32 {
    page.iter()
        .skip(page.len() % 200)
        .step_by(200)
        .fold(nonce, |sum, &byte| sum.wrapping_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::journal::MAGIC;

    const NONCE: u32 = 0x1234_5678;
    const SECTOR: usize = 512;

    /// A journal of 512-byte pages and sectors, of a database that had 10 pages.
    #[derive(Default)]
    struct Written(Vec<u8>);

    impl Written {
        fn header(mut self, records: u32) -> Written {
            self.0.resize(self.0.len().next_multiple_of(SECTOR), 0);
            self.0.extend_from_slice(&MAGIC);
            for field in [records, NONCE, 10, SECTOR as u32, 512] {
                self.0.extend_from_slice(&field.to_be_bytes());
            }
            self.0.resize(self.0.len().next_multiple_of(SECTOR), 0);
            self
        }

        fn record(self, pgno: u32) -> Written {
            self.record_off_by(pgno, 0)
        }

        fn record_off_by(mut self, pgno: u32, off_by: u32) -> Written {
            let page = [pgno as u8; 512];
            self.0.extend_from_slice(&pgno.to_be_bytes());
            self.0.extend_from_slice(&page);
            let sum = NONCE + 2 * u32::from(pgno as u8) + off_by;
            self.0.extend_from_slice(&sum.to_be_bytes());
            self
        }

        fn pages(self) -> Vec<u32> {
            let mut journal = Journal::open(Cursor::new(self.0)).unwrap();
            journal
                .records()
                .map(|record| record.unwrap().pgno.get())
                .collect()
        }
    }

    #[test]
    fn segments_follow_at_sector_boundaries() {
        let journal = Written::default()
            .header(2)
            .record(1)
            .record(2)
            .header(1)
            .record(3);
        assert_eq!(journal.pages(), [1, 2, 3]);
    }

    #[test]
    fn records_tell_where_their_page_is() {
        let bytes = Written::default().header(1).record(9).header(1).record(8).0;
        let mut journal = Journal::open(Cursor::new(bytes.clone())).unwrap();
        let mut records = journal.records();
        for (pgno, offset) in [(9, 516), (8, 2 * 512 + 1024 + 4)] {
            let record = records.next().unwrap().unwrap();
            assert_eq!(
                (record.pgno.get(), record.offset_of_page, record.checksum_ok),
                (pgno, offset, true)
            );
            assert_eq!(records.page(), &bytes[offset as usize..][..512]);
            assert_eq!(records.page(), [pgno as u8; 512]);
        }
        assert!(records.next().is_none());
    }

    #[test]
    fn a_count_of_zero_is_none_unless_the_segment_is_the_last() {
        let empty_first = Written::default().header(0).header(1).record(3);
        assert_eq!(empty_first.pages(), [3]);
        let last = Written::default()
            .header(1)
            .record(1)
            .header(0)
            .record(2)
            .record_off_by(3, 1)
            .record(4);
        assert_eq!(last.pages(), [1, 2]);
        let behind_the_end = Written::default()
            .header(0)
            .record(2)
            .record_off_by(11, 1)
            .record(3);
        assert_eq!(behind_the_end.pages(), [2]);
    }

    #[test]
    fn a_count_of_all_ones_goes_to_the_end_of_the_file() {
        let mut journal = Written::default().header(u32::MAX).record(1).record(2);
        journal.0.extend_from_slice(&[0xff; 519]);
        assert_eq!(journal.pages(), [1, 2]);
    }

    #[test]
    fn a_count_beyond_the_end_of_the_file_stops_there() {
        assert_eq!(
            Written::default().header(9).record(1).record(2).pages(),
            [1, 2]
        );
    }

    #[test]
    fn playback_ends_for_good_at_a_bad_record() {
        let lock_page = 0x4000_0000 / 512 + 1;
        for (pgno, off_by) in [(2, 1), (0, 0), (lock_page, 0)] {
            let journal = Written::default()
                .header(3)
                .record(1)
                .record_off_by(pgno, off_by)
                .record(3);
            assert_eq!(
                journal.header(1).record(4).pages(),
                [1],
                "page {pgno} off by {off_by}"
            );
        }
    }

    #[test]
    fn pages_behind_the_initial_size_are_skipped_unread() {
        let bytes = Written::default()
            .header(2)
            .record_off_by(11, 1)
            .record(10)
            .0;
        let mut journal = Journal::open(Cursor::new(bytes)).unwrap();
        let records: Vec<_> = journal.records().map(|record| record.unwrap()).collect();
        assert_eq!(
            records
                .iter()
                .map(|r| (r.pgno.get(), r.checksum_ok))
                .collect::<Vec<_>>(),
            [(11, false), (10, true)]
        );
    }
}
