//! The parsers and the foreign WAL writer against the real SQLite, in other processes (`python3` has to be there;
//! its standard library includes SQLite).

mod foreign;
mod header;
mod journal;
mod python;
mod wal;
mod wal_index;
mod writer;
