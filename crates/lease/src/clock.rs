//! The clock by which leases are counted.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Tells the time and waits. Leases are counted by CLOCK_BOOTTIME: it goes on while the machine is suspended.
pub trait Clock: Send + Sync {
    /// Time since some moment in the past. Never goes back.
    fn now(&self) -> Duration;

    /// Waits until [`Clock::now`] is at least `at`.
    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// The date, in seconds since 1970. No lease is counted by it: see [`Member`](crate::Member) for what it is good.
    fn date(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }
}

/// CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

/// After a suspend Tokio's timers are late; nobody waits longer than this without a look at the clock.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Clock for BootClock {
    fn now(&self) -> Duration {
        // The call cannot fail: the clock exists since Linux 2.6.39.
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map(Duration::from)
            .unwrap_or_default()
    }

    fn until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            while let Some(left) = at.checked_sub(self.now()).filter(|left| !left.is_zero()) {
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            }
        })
    }
}
