//! How far a replica is behind, by the primary's clock.

use std::time::Duration;

use parking_lot::Mutex;

use crate::status::Lag;
use crate::transaction::unix_ms;

/// What the last heartbeat said.
#[derive(Default)]
pub(crate) struct PrimaryClock(Mutex<Option<i64>>);

impl PrimaryClock {
    /// Notes the primary's clock (Unix milliseconds) if everything that it had then is here.
    pub(crate) fn note(&self, primary_ms: i64, in_sync: bool) {
        if in_sync {
            *self.0.lock() = Some(primary_ms);
        }
    }

    pub(crate) fn lag(&self) -> Lag {
        match *self.0.lock() {
            None => Lag::NeverSynced,
            // The clocks of two machines differ: behind by less than nothing is not behind.
            Some(at) => Lag::Behind(Duration::from_millis(
                unix_ms().saturating_sub(at).max(0).unsigned_abs(),
            )),
        }
    }
}
