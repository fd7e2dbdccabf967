//! The rules and the steps, one by one.
