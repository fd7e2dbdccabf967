//! The rollback journal: what the database was before the transaction that is under way.
//!
//! Source: "Database File Format", section "The Rollback Journal", and SQLite's `pager.c` (`readJournalHdr`,
//! `pager_playback`, `readSuperJournal`). A -journal file is one or more segments, each a header padded to the
//! sector size and records of page number, old content and checksum; the name of a super-journal may follow. All
//! integers are big-endian.
//!
//! The parser reads one record at a time, so that it needs the memory of one page whatever the journal's size.
//!
//! What is not in a journal: pages behind the former end of the database, and free pages that were taken into
//! use again. A segment that was not synced yet (its magic is still zero) is not reported: SQLite changes the
//! database file only after the sync.

mod file;
mod header;
mod records;
mod super_journal;

pub use file::{Journal, JournalState};
pub use header::{JournalHeader, MAGIC};
pub use records::{JournalRecord, Records};
