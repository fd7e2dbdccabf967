use std::io;

use crate::{Checksum, Pgno, Pos, TxId};

/// What can be wrong with an LTX file, with the use of one, or with the text form of a value.
///
/// Offsets are bytes from the start of the file. The crate knows no paths: whoever opened the file adds its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The underlying reader or its seek gave an error.
    #[error("read at byte {offset}")]
    Read {
        /// Where the read began.
        offset: u64,
        /// The error of the reader.
        source: io::Error,
    },
    /// The underlying writer gave an error. The file is not usable.
    #[error("write at byte {offset}")]
    Write {
        /// Where the write began.
        offset: u64,
        /// The error of the writer.
        source: io::Error,
    },
    /// The input ended inside a file.
    #[error("file ends early, in what begins at byte {offset}")]
    Truncated {
        /// Where the incomplete part began.
        offset: u64,
    },
    /// The first four bytes are not `LTX1`.
    #[error("not an LTX file: bad magic number")]
    Magic,
    /// The header has flags that version 3 does not define. Files of earlier versions are told apart by this.
    #[error("unknown header flags {0:#010x}")]
    HeaderFlags(u32),
    /// Not a power of two from 512 to 65536.
    #[error("invalid page size {0}")]
    PageSize(u32),
    /// A TXID of the header is zero or 2^64-1, or the minimum is above the maximum.
    #[error("invalid transaction range {min}-{max}")]
    TxIdRange {
        /// Minimum TXID of the header.
        min: TxId,
        /// Maximum TXID of the header.
        max: TxId,
    },
    /// The pre-apply checksum is absent where one is needed, present where none may be, or has bit 63 clear.
    #[error("invalid pre-apply checksum {checksum} for transactions from {min}")]
    PreApplyChecksum {
        /// Minimum TXID of the header.
        min: TxId,
        /// The refused checksum.
        checksum: Checksum,
    },
    /// The post-apply checksum is not what the pages or the header demand, or has bit 63 clear.
    #[error("post-apply checksum is {found}, expected {expected}")]
    PostApplyChecksum {
        /// The checksum given or stored.
        found: Checksum,
        /// What it must be; [`Checksum::EMPTY`] also stands for "any with bit 63 set" when the pages do not tell.
        expected: Checksum,
    },
    /// WAL offset or size above `i64::MAX`, or a WAL size or salt without a WAL offset.
    #[error("invalid wal range: offset {offset}, size {size}, salts {salts:?}")]
    WalRange {
        /// WAL offset of the header, in bytes.
        offset: u64,
        /// WAL size of the header, in bytes.
        size: u64,
        /// WAL salts of the header.
        salts: (u32, u32),
    },
    /// Page number zero with flags, or flags that version 3 does not define.
    #[error("invalid page header at byte {offset}: number {pgno}, flags {flags:#06x}")]
    PageHeader {
        /// Where the page header begins.
        offset: u64,
        /// The page number of it.
        pgno: u32,
        /// The flags of it.
        flags: u16,
    },
    /// The data given for a page does not have the file's page size.
    #[error("page {pgno} has {len} bytes, the page size is {page_size}")]
    PageLength {
        /// The page.
        pgno: Pgno,
        /// Bytes given.
        len: usize,
        /// Bytes expected.
        page_size: u32,
    },
    /// The page that holds SQLite's lock bytes is never part of a file.
    #[error("page {0} is the lock page")]
    LockPage(Pgno),
    /// The page is beyond the size of the database after the transaction.
    #[error("page {pgno} is beyond the commit size of {commit} pages")]
    PageBeyondCommit {
        /// The page.
        pgno: Pgno,
        /// Pages of the database after the transaction.
        commit: u32,
    },
    /// Pages must ascend strictly.
    #[error("page {pgno} follows page {previous}")]
    PageOrder {
        /// The page.
        pgno: Pgno,
        /// The page before it in the file.
        previous: Pgno,
    },
    /// A snapshot lacks a page.
    #[error("snapshot lacks page {missing} of {commit}")]
    SnapshotIncomplete {
        /// The first page that is missing.
        missing: Pgno,
        /// Pages of the database.
        commit: u32,
    },
    /// The LZ4 data of a page cannot be decoded, or not to exactly one page.
    #[error("corrupt data of page {pgno}, whose header is at byte {offset}")]
    PageData {
        /// The page.
        pgno: Pgno,
        /// Where the page header begins.
        offset: u64,
        /// What the LZ4 decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The page index does not describe the pages of the file.
    #[error("page index at byte {offset} does not describe the pages")]
    PageIndex {
        /// Where the page index begins.
        offset: u64,
    },
    /// The file's content does not have the checksum its trailer says.
    #[error("file checksum is {computed}, the trailer says {stored}")]
    FileChecksum {
        /// Checksum of the content.
        computed: Checksum,
        /// Checksum in the trailer.
        stored: Checksum,
    },
    /// Bytes follow the trailer.
    #[error("file goes on after its trailer, at byte {offset}")]
    TrailingBytes {
        /// The first byte after the trailer.
        offset: u64,
    },
    /// `finish` was called while pages were left to read.
    #[error("pages are left to read at byte {offset}")]
    PagesLeft {
        /// Where the next page header begins.
        offset: u64,
    },
    /// A reader or writer was used after it had returned an error.
    #[error("used after an error at byte {offset}")]
    Poisoned {
        /// Where it had come to.
        offset: u64,
    },
    /// A compaction needs at least one file.
    #[error("no files to compact")]
    NoInputs,
    /// An input of a compaction is wrong in itself.
    #[error("input {number}")]
    Input {
        /// Which input, counted from zero.
        number: usize,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The files to compact differ in page size.
    #[error("input {number} has page size {found}, the ones before {expected}")]
    PageSizeMismatch {
        /// Which input, counted from zero.
        number: usize,
        /// Page size of the inputs before, in bytes.
        expected: u32,
        /// Page size of this input, in bytes.
        found: u32,
    },
    /// Some of the files to compact track database checksums and some do not.
    #[error("input {number} differs from the ones before in whether it tracks checksums")]
    TrackingMismatch {
        /// Which input, counted from zero.
        number: usize,
    },
    /// A file to compact does not apply to the position the one before it ends at.
    #[error("input {number} applies to {found}, the one before ends at {expected}")]
    NotContiguous {
        /// Which input, counted from zero.
        number: usize,
        /// Position at the end of the input before. Its checksum is [`Checksum::NONE`] while not yet known.
        expected: Pos,
        /// Position this input applies to.
        found: Pos,
    },
    /// A text is not the text form of the value.
    #[error("invalid {what}")]
    Text {
        /// The kind of value, with its form.
        what: &'static str,
    },
}

/// Result with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
