//! LTX version 3: a file that holds the pages one or more consecutive SQLite transactions changed.
//!
//! The crate also owns the words every other crate counts in: [`TxId`], [`Checksum`], [`Pos`], [`Pgno`] and
//! [`PageSize`].
//!
//! # The format
//!
//! All integers are big endian, except the variable-length ones of the page index (LEB128, as protobuf has them).
//!
//! | part       | bytes | content |
//! |------------|-------|---------|
//! | header     | 100   | `LTX1`, flags, page size, commit, min and max TXID, timestamp, pre-apply checksum, WAL range and salts, node id, 20 reserved bytes |
//! | pages      |       | per page: number (4), flags (2), then by flag bit 0: set = size (4) and an LZ4 block of that size; clear = an LZ4 frame |
//! | end        | 6     | a page header of zeros |
//! | page index |       | per page: number, offset of its page header, size with that header; then a zero number |
//! | index size | 8     | bytes of the page index with its zero number, without this field |
//! | trailer    | 16    | post-apply checksum, file checksum |
//!
//! The file checksum is CRC-64/GO-ISO, with bit 63 set, over everything before it, where a page counts as its
//! uncompressed bytes and not as the LZ4 data. Header flag 2 says that database checksums are not tracked
//! ([`ChecksumTracking`]). A page that is one LZ4 frame is what version 0.5.1 of the Go package wrote; it is read,
//! never written.
//!
//! # Invariants
//!
//! A file that a [`Writer`] finished and a file that [`verify`] accepts obey the same rules:
//!
//! - pages ascend strictly, none is beyond the commit size, and the lock page is never one of them;
//! - a file that begins at TXID 1 is a snapshot: it has every page but the lock page, no pre-apply checksum, and its
//!   post-apply checksum is that of its pages;
//! - any other file names the checksum of the database it applies to;
//! - the page index says exactly where the pages are, and nothing follows the trailer;
//! - a database that was dropped is a file with commit size 0, no pages, and [`Checksum::EMPTY`].
//!
//! The Go package enforces the rules on pages in its encoder only; here they hold for reading too. The one stricter
//! rule is that TXID 2^64-1 is refused, since it has no successor.
//!
//! Bytes of a file are hostile until checked: no input panics, and no length field of it is believed further than
//! the bytes that are really there.
//!
//! # What this crate must not know
//!
//! SQLite's own formats (database header, journal, WAL), paths and directories beyond [`file_name`], clocks, the
//! network. It is synchronous and has no state outside its values.

mod block;
mod checksum;
mod compact;
mod ends;
mod error;
mod file_name;
mod frame;
mod header;
mod hex;
mod index;
mod indexed;
mod order;
mod page;
mod pos;
mod reader;
mod sink;
mod source;
mod trailer;
mod txid;
mod verify;
mod writer;

pub use block::Compression;
pub use checksum::{Checksum, page_checksum};
pub use compact::{Compactor, compact};
pub use ends::read_ends;
pub use error::{Error, Result};
pub use file_name::{file_name, parse_file_name};
pub use header::{ChecksumTracking, Header};
pub use indexed::IndexedReader;
pub use page::{PageSize, Pgno};
pub use pos::Pos;
pub use reader::Reader;
pub use trailer::Trailer;
pub use txid::TxId;
pub use verify::verify;
pub use writer::Writer;
