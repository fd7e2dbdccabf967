//! Tests of the crate from outside: what it writes, what it reads, and what Go's `ltx` says of both.

mod compact;
mod database;
mod differential;
mod fixture;
mod forged;
mod go;
mod golden;
mod hostile;
mod indexed;
mod lock_page;
mod round_trip;
