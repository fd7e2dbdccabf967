//! For tests of this crate and of those that use it: a clock that is set by hand.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

/// A clock that stands still until it is advanced. Whoever waits for a time wakes when the clock reaches it.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Duration>,
}

impl ManualClock {
    /// A clock that shows an hour: early enough for any test, and not so early that a time before it is negative.
    pub fn new() -> ManualClock {
        ManualClock {
            now: watch::Sender::new(Duration::from_secs(3600)),
        }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // It only ends early when the clock is dropped, and that is borrowed here.
            let _ = now.wait_for(|now| *now >= at).await;
        })
    }
}
