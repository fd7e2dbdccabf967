//! The write-ahead log: header, frames, and the checksum chain that makes them one generation.
//!
//! Source: "Database File Format", section "The Write-Ahead Log", and "WAL-mode File Format". A -wal file is a
//! 32-byte header and frames of 24 bytes + one page. All integers are big-endian. A frame belongs to the log
//! iff its salts are those of the header and its checksum continues that of the frame before it.

mod chain;
mod checksum;
mod frame;
mod header;

pub use chain::{ChainBreak, FrameChain};
pub use checksum::{NATIVE_BIG_ENDIAN, WalChecksum};
pub use frame::{FrameHeader, frame_offset};
pub use header::{Salts, WalHeader};
