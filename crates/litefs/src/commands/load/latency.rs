//! Many durations in little memory.

use serde::{Deserialize, Serialize};

/// Steps between one power of two and the next: quantiles are right to one part in this many.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: u32 = 5;
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// Counts of durations in nanoseconds, in buckets that grow with them.
#[derive(Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

/// Some quantiles, in nanoseconds; all zero if nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies {
            buckets: vec![0; BUCKETS],
            count: 0,
            max: 0,
        }
    }

    /// Adds one duration.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// How many were added.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles {
            p50: self.quantile(50),
            p99: self.quantile(99),
            max: self.max,
        }
    }

    /// The least bound that `percent` of the durations do not exceed.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return greatest_of(index).min(self.max);
            }
        }
        self.max
    }
}

/// Below [`STEPS`] each value has a bucket; above, each power of two has [`STEPS`] of them.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (shift as usize) * STEPS + (value >> shift) as usize
}

fn greatest_of(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let step = (bucket % STEPS + STEPS) as u128;
    u64::try_from(((step + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_is_at_most_a_step_wide() {
        let mut value = 0u64;
        while value < u64::MAX / 2 {
            let greatest = greatest_of(bucket(value));
            assert!(
                greatest >= value && greatest - value <= value / STEPS as u64,
                "{value}: {greatest}"
            );
            assert!(value == 0 || bucket(value) >= bucket(value - 1));
            value += 1 + value / 7;
        }
        assert_eq!(greatest_of(bucket(u64::MAX)), u64::MAX);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut latencies = Latencies::new();
        assert_eq!(
            latencies.quantiles(),
            Quantiles {
                p50: 0,
                p99: 0,
                max: 0
            }
        );
        for value in 1..=60 {
            latencies.record(value);
        }
        assert_eq!(
            latencies.quantiles(),
            Quantiles {
                p50: 30,
                p99: 60,
                max: 60
            }
        );
        for _ in 0..100_000 {
            latencies.record(1_000_000);
        }
        assert_eq!(latencies.count(), 100_060);
        assert_eq!(latencies.quantiles().p99, 1_000_000);
    }
}
