//! The API as a client sees it: a served router, a real store, a real HTTP client.

mod control;
mod export;
mod import;
mod info;
mod metrics;
mod node;
mod paths;
mod raw;
