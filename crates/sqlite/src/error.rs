use std::io;

/// Why bytes are not the SQLite structure they were read as.
///
/// The texts name the structure and the offending value; the caller adds the database and the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the structure has.
    #[error("{what}: {got} bytes where {need} are needed")]
    Short {
        /// The structure that was read.
        what: &'static str,
        /// Its size in bytes.
        need: usize,
        /// The bytes that were there.
        got: usize,
    },
    /// The file does not start with "SQLite format 3\0".
    #[error("database header: not a SQLite database")]
    DatabaseMagic,
    /// A page size that is no power of two from 512 to 65536. The value is the raw field: in the database
    /// header and in the wal-index 1 stands for 65536.
    #[error("{what}: bad page size field {value}")]
    PageSize {
        /// The structure that holds the field.
        what: &'static str,
        /// The raw field.
        value: u32,
    },
    /// The first word of a WAL is neither 0x377f0682 nor 0x377f0683.
    #[error("wal header: bad magic {0:#010x}")]
    WalMagic(u32),
    /// The format version of a WAL is not 3007000.
    #[error("wal header: unknown format version {0}")]
    WalVersion(u32),
    /// The checksum of the WAL header does not match.
    #[error("wal header: checksum mismatch")]
    WalChecksum,
    /// A WAL frame header with page number 0.
    #[error("wal frame header: page number is zero")]
    WalFramePgno,
    /// The format version of a wal-index is not 3007000.
    #[error("wal-index header: unknown format version {0}")]
    WalIndexVersion(u32),
    /// The checksum of a wal-index header does not match.
    #[error("wal-index header: checksum mismatch")]
    WalIndexChecksum,
    /// The sector size in a rollback journal is no power of two from 32 to 65536.
    #[error("rollback journal: bad sector size {0}")]
    JournalSectorSize(u32),
    /// A rollback journal does not start with its magic.
    #[error("rollback journal: bad magic")]
    JournalMagic,
    /// A read of a rollback journal.
    #[error("rollback journal: read at offset {offset}")]
    JournalRead {
        /// Where in the journal.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}
