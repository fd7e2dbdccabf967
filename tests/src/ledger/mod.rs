//! A workload whose every transaction keeps invariants, and the check of these invariants.
//!
//! A reader that sees one transaction in half, an older page among newer ones, or the wrong bytes in a re-used page
//! finds an invariant broken. Four things must hold in every snapshot:
//! - the balances of all accounts have the same sum as at the beginning;
//! - two rows in pages far apart have the same value, and it never goes back;
//! - count, bytes and digests of the items are what the row of totals says, by table and by index;
//! - the bytes of an item have its digest.

mod check;
mod kind;
mod schema;
mod writer;

pub use check::{Fault, Reading, check};
pub use kind::{JournalMode, Synchronous};
pub use schema::{FIRST_TICK, LAST_TICK, create};
pub use writer::{End, Writer};

/// Digest of an item's bytes: FNV-1a, cut to 31 bits so that sums of many stay integers in SQLite.
pub fn digest(bytes: &[u8]) -> i64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i64::try_from(hash >> 33).expect("31 bits")
}
