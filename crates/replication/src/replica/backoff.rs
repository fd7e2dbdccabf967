//! How long to wait before trying again.

use std::time::Duration;

use rand::Rng;

/// Doubles from a least to a greatest wait, with jitter so that many replicas do not come at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Backoff {
        let min = min.max(Duration::from_millis(1));
        Backoff {
            min,
            max: max.max(min),
            next: min,
        }
    }

    /// It worked: the next wait is the least again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next wait: between a half and the whole of the present one.
    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (self.next * 2).min(self.max);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// The slowest pace, for what a retry will hardly change.
    pub(crate) fn slowest(&mut self) -> Duration {
        self.next = self.max;
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_greatest_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(400));
        for whole in [50, 100, 200, 400, 400] {
            let wait = backoff.wait();
            assert!(
                wait >= ms(whole / 2) && wait <= ms(whole),
                "{wait:?} of {whole} ms"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(50));
        assert_eq!(backoff.slowest(), ms(400));
    }
}
