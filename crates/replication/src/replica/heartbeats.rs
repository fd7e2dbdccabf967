//! The pages of the primary's heartbeats. Without network, store or clock.

use crate::error::Violation;
use crate::proto;
use crate::wire::{DATABASES_MAX, PAGE_MAX, PeerDatabase};

/// Heartbeats as they arrive, page by page.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    /// Databases in the pages of the one that is arriving.
    arrived: usize,
}

/// A page whose fields were checked.
#[derive(Debug)]
pub(crate) struct Page {
    /// The primary's clock, in milliseconds since 1970.
    pub(crate) primary_ms: i64,
    pub(crate) databases: Vec<PeerDatabase>,
    /// Whether the heartbeat ends with it.
    pub(crate) last: bool,
}

impl Heartbeats {
    /// Checks a page: how many databases there are, and their names.
    pub(crate) fn page(&mut self, heartbeat: proto::Heartbeat) -> Result<Page, Violation> {
        self.arrived += heartbeat.databases.len();
        if heartbeat.databases.len() > PAGE_MAX || self.arrived > DATABASES_MAX {
            return Err(Violation::TooMany {
                what: "databases in a heartbeat",
                max: DATABASES_MAX,
            });
        }
        let last = !heartbeat.more_databases;
        if last {
            self.arrived = 0;
        }
        let databases = heartbeat
            .databases
            .into_iter()
            .map(PeerDatabase::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page {
            primary_ms: heartbeat.primary_ms,
            databases,
            last,
        })
    }
}
