//! A short fuzzing run that needs no nightly compiler: the bodies of the fuzz targets are run over seeds, which are real
//! files and messages, and over seeded random mutations of them.
//!
//! The same body is a target of cargo-fuzz, where it finds more; this keeps what was found from coming back, in every
//! run of the tests.
//!
//! It must not know what the bytes mean.

mod allocation;
mod mutator;
mod smoke;

pub use allocation::{Counting, Measured, measure};
pub use mutator::Mutator;
pub use smoke::{Smoke, seeds_in};
