//! Clocks that go wrong.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use lease::Clock;
use tokio::time::Instant;

/// A clock over Tokio's paused time, with a rate and an offset of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SkewedClock {
    began: Instant,
    offset: Duration,
    /// Its seconds per second.
    rate: f64,
}

impl SkewedClock {
    pub(crate) fn new(began: Instant, offset: Duration, rate: f64) -> SkewedClock {
        SkewedClock {
            began,
            offset,
            rate,
        }
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Duration {
        self.offset + self.began.elapsed().mul_f64(self.rate)
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            while let Some(left) = at.checked_sub(self.now()).filter(|left| !left.is_zero()) {
                // Tokio's timers count in milliseconds.
                let left = left.div_f64(self.rate).max(Duration::from_millis(1));
                tokio::time::sleep(left).await;
            }
        })
    }

    fn date(&self) -> u64 {
        1_700_000_000 + self.began.elapsed().as_secs()
    }
}
