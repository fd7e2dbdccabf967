//! The checksum of WAL headers, frames and wal-index headers ("Checksum Algorithm").

/// Whether this host is big-endian. SQLite computes the checksums of a log that it begins itself over words of
/// its host's order, and says so in the magic; those of a wal-index header are always in the host's order.
pub const NATIVE_BIG_ENDIAN: bool = cfg!(target_endian = "big");

/// A checksum value, or the running state of one: the two are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WalChecksum {
    /// The first word.
    pub s1: u32,
    /// The second word.
    pub s2: u32,
}

impl WalChecksum {
    /// The state to begin with.
    pub const ZERO: WalChecksum = WalChecksum { s1: 0, s2: 0 };

    /// Continues the checksum over `data`, taken as pairs of 32-bit words of the given byte order.
    ///
    /// # Panics
    ///
    /// If the length of `data` is no multiple of 8.
    #[must_use]
    pub fn update(self, big_endian: bool, data: &[u8]) -> WalChecksum {
        let (pairs, rest) = data.as_chunks::<8>();
        assert!(
            rest.is_empty(),
            "a wal checksum covers a multiple of 8 bytes, not {}",
            data.len()
        );
        if big_endian {
            self.over(pairs, |x, y| (u32::from_be_bytes(x), u32::from_be_bytes(y)))
        } else {
            self.over(pairs, |x, y| (u32::from_le_bytes(x), u32::from_le_bytes(y)))
        }
    }

    /// Each step needs the result of the one before, which leaves most of a processor idle. The steps are
    /// linear, however (see [`Step`]): four quarters are summed side by side, and a quarter's sum is moved over
    /// the following one by multiplying it with that many steps.
    fn over(
        self,
        pairs: &[[u8; 8]],
        words: impl Fn([u8; 4], [u8; 4]) -> (u32, u32),
    ) -> WalChecksum {
        let step = |sum: WalChecksum, &[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            let (x, y) = words([a, b, c, d], [e, f, g, h]);
            let s1 = sum.s1.wrapping_add(x).wrapping_add(sum.s2);
            WalChecksum {
                s1,
                s2: sum.s2.wrapping_add(y).wrapping_add(s1),
            }
        };
        let quarter = pairs.len() / 4;
        if quarter < MIN_QUARTER {
            return pairs.iter().fold(self, step);
        }
        let (first, tail) = pairs.split_at(quarter);
        let (second, tail) = tail.split_at(quarter);
        let (third, tail) = tail.split_at(quarter);
        let (fourth, tail) = tail.split_at(quarter);
        let mut sums = [
            self,
            WalChecksum::ZERO,
            WalChecksum::ZERO,
            WalChecksum::ZERO,
        ];
        for (((a, b), c), d) in first.iter().zip(second).zip(third).zip(fourth) {
            sums[0] = step(sums[0], a);
            sums[1] = step(sums[1], b);
            sums[2] = step(sums[2], c);
            sums[3] = step(sums[3], d);
        }
        let steps = Step::ONE.power(quarter);
        let sum = sums[1..].iter().fold(sums[0], |sum, next| {
            let moved = steps.apply(sum);
            WalChecksum {
                s1: moved.s1.wrapping_add(next.s1),
                s2: moved.s2.wrapping_add(next.s2),
            }
        });
        tail.iter().fold(sum, step)
    }
}

/// Fewer pairs of words than this per quarter are not worth the matrix power: headers, in practice.
const MIN_QUARTER: usize = 8;

/// What some number of checksum steps do to the state when the data are zero: the symmetric matrix
/// `[[a, b], [b, c]]` over 32-bit words. Powers of one symmetric matrix commute and stay symmetric.
#[derive(Clone, Copy)]
struct Step {
    a: u32,
    b: u32,
    c: u32,
}

impl Step {
    /// s1' = s1 + s2, s2' = s2 + s1' = s1 + 2 s2.
    const ONE: Step = Step { a: 1, b: 1, c: 2 };
    const NONE: Step = Step { a: 1, b: 0, c: 1 };

    fn then(self, other: Step) -> Step {
        let dot =
            |p: u32, q: u32, r: u32, s: u32| p.wrapping_mul(q).wrapping_add(r.wrapping_mul(s));
        Step {
            a: dot(self.a, other.a, self.b, other.b),
            b: dot(self.a, other.b, self.b, other.c),
            c: dot(self.b, other.b, self.c, other.c),
        }
    }

    fn power(self, mut exponent: usize) -> Step {
        let (mut result, mut square) = (Step::NONE, self);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.then(square);
            }
            square = square.then(square);
            exponent >>= 1;
        }
        result
    }

    fn apply(self, sum: WalChecksum) -> WalChecksum {
        let dot = |p: u32, q: u32| p.wrapping_mul(sum.s1).wrapping_add(q.wrapping_mul(sum.s2));
        WalChecksum {
            s1: dot(self.a, self.b),
            s2: dot(self.b, self.c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The algorithm as the format page gives it, word by word.
    fn by_definition(start: WalChecksum, big_endian: bool, data: &[u8]) -> WalChecksum {
        let mut sum = start;
        for pair in data.chunks(8) {
            let word = |at: usize| {
                let bytes = pair[at..at + 4].try_into().unwrap();
                if big_endian {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                }
            };
            sum.s1 = sum.s1.wrapping_add(word(0)).wrapping_add(sum.s2);
            sum.s2 = sum.s2.wrapping_add(word(4)).wrapping_add(sum.s1);
        }
        sum
    }

    proptest! {
        #[test]
        fn update_is_the_definition(
            s1: u32, s2: u32, big_endian: bool, pairs in prop::collection::vec(any::<[u8; 8]>(), 0..600),
        ) {
            let start = WalChecksum { s1, s2 };
            let data = pairs.as_flattened();
            prop_assert_eq!(start.update(big_endian, data), by_definition(start, big_endian, data));
        }
    }

    #[test]
    fn byte_orders_differ() {
        let data = [1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(
            WalChecksum::ZERO.update(false, &data),
            WalChecksum { s1: 1, s2: 3 }
        );
        assert_eq!(
            WalChecksum::ZERO.update(true, &data),
            WalChecksum {
                s1: 1 << 24,
                s2: 3 << 24
            }
        );
    }

    #[test]
    #[should_panic(expected = "multiple of 8")]
    fn an_odd_length_is_refused() {
        let _ = WalChecksum::ZERO.update(false, &[0; 12]);
    }
}
