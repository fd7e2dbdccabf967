//! The rules and the steps, one by one.

mod fake;
mod handoffs;
mod rules;
mod tenure;
mod terms;
