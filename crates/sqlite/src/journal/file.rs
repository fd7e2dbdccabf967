use std::io::{Read, Seek, SeekFrom};

use super::{JournalHeader, Records, super_journal};
use crate::Error;

/// What the start of a -journal file says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalState {
    /// The file is empty: no transaction, or one that has just begun. `journal_mode=TRUNCATE` commits to this.
    Empty,
    /// There is no header that SQLite would play back: no magic (`journal_mode=PERSIST` commits by zeroing it,
    /// and a journal that was not synced yet has none), impossible sizes, or less than a whole header. The
    /// database file is not changed, or the change is committed.
    Zeroed,
    /// There is a valid header: the database may be changed, and playing the journal back undoes it.
    Valid,
}

/// A -journal file, open for reading.
#[derive(Debug)]
pub struct Journal<F> {
    pub(super) file: F,
    /// As of the opening; what is appended later is not seen.
    pub(super) size: u64,
    header: Option<JournalHeader>,
    super_journal_name: Option<Vec<u8>>,
}

impl<F: Read + Seek> Journal<F> {
    /// Reads the ends of a journal. The journal may be in use: what is found is what it was at this moment.
    ///
    /// # Errors
    ///
    /// [`Error::JournalRead`] if the file cannot be read, also if it shrinks meanwhile; [`Error::PageSize`] for a
    /// valid header with page size 0. SQLite before 3.5.8 wrote that to say "the page size of the database", and
    /// a transaction must not be taken for none.
    pub fn open(file: F) -> Result<Journal<F>, Error> {
        let mut journal = Journal {
            file,
            size: 0,
            header: None,
            super_journal_name: None,
        };
        journal.size = journal
            .file
            .seek(SeekFrom::End(0))
            .map_err(|source| Error::JournalRead { offset: 0, source })?;
        journal.header = journal.read_header()?;
        journal.super_journal_name = super_journal::read(&mut journal)?;
        Ok(journal)
    }

    fn read_header(&mut self) -> Result<Option<JournalHeader>, Error> {
        if self.size < JournalHeader::SIZE as u64 {
            return Ok(None);
        }
        let mut bytes = [0; JournalHeader::SIZE];
        self.read_at(0, &mut bytes)?;
        match JournalHeader::parse(&bytes) {
            Ok(header) if self.size < header.sector_size.into() => Ok(None),
            Ok(header) => Ok(Some(header)),
            Err(error @ Error::PageSize { value: 0, .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What the journal says about a transaction.
    pub fn state(&self) -> JournalState {
        match (self.size, self.header) {
            (0, _) => JournalState::Empty,
            (_, None) => JournalState::Zeroed,
            (_, Some(_)) => JournalState::Valid,
        }
    }

    /// The header of the first segment, if the state is [`JournalState::Valid`].
    pub fn header(&self) -> Option<&JournalHeader> {
        self.header.as_ref()
    }

    /// The size of the file in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The records of all segments, in the order in which SQLite would play them back; none unless the state is
    /// [`JournalState::Valid`]. Each call begins anew.
    pub fn records(&mut self) -> Records<'_, F> {
        Records::new(self, self.header)
    }

    /// The name of the super-journal at the end of the file: the transaction spans several databases, and it is
    /// committed once the file of that name is gone. The name is a path as its writer saw it.
    pub fn super_journal_name(&self) -> Option<Vec<u8>> {
        self.super_journal_name.clone()
    }

    pub(super) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(buffer))
            .map_err(|source| Error::JournalRead { offset, source })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::journal::MAGIC;

    fn open(page_size: u32, size: usize) -> Result<Journal<Cursor<Vec<u8>>>, Error> {
        let mut bytes = MAGIC.to_vec();
        for field in [1, 2, 3, 512, page_size] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.resize(size, 0);
        Journal::open(Cursor::new(bytes))
    }

    #[test]
    fn a_header_counts_once_its_sector_is_whole() {
        for (size, state) in [
            (0, JournalState::Empty),
            (1, JournalState::Zeroed),
            (511, JournalState::Zeroed),
            (512, JournalState::Valid),
        ] {
            assert_eq!(open(4096, size).unwrap().state(), state, "{size} bytes");
        }
        assert_eq!(open(4097, 512).unwrap().state(), JournalState::Zeroed);
    }

    #[test]
    fn the_page_size_of_old_versions_is_an_error() {
        assert!(matches!(
            open(0, 512),
            Err(Error::PageSize { value: 0, .. })
        ));
    }
}
