//! What each command does.

pub(crate) mod aside;
pub(crate) mod dev;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod leadership;
pub(crate) mod load;
pub(crate) mod mount;
mod progress;
pub(crate) mod upgrade;
pub(crate) mod version;
