//! The mapped blocks of one index: a list that grows while references into it are out.

use std::sync::OnceLock;

use super::block::Block;

/// Buckets of 1, 2, 4, ... blocks. 21 of them hold the 2^20 + 1 blocks that 2^32 - 1 frames need.
const BUCKETS: usize = 21;

/// Blocks by number. They are mapped in order and stay mapped, so that shared access suffices to add one.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    buckets: [OnceLock<Box<[OnceLock<Block>]>>; BUCKETS],
}

impl Blocks {
    /// The block, if it is mapped.
    pub(super) fn get(&self, number: usize) -> Option<&Block> {
        let (bucket, index) = place(number);
        self.buckets.get(bucket)?.get()?[index].get()
    }

    /// Keeps a newly mapped block and returns it, or the one that another thread put there first. `None` if
    /// the number is beyond what an index can have.
    pub(super) fn insert(&self, number: usize, block: Block) -> Option<&Block> {
        let (bucket, index) = place(number);
        let slots = self
            .buckets
            .get(bucket)?
            .get_or_init(|| (0..1usize << bucket).map(|_| OnceLock::new()).collect());
        Some(slots[index].get_or_init(|| block))
    }
}

/// The bucket of a block and its index there.
fn place(number: usize) -> (usize, usize) {
    let rank = number.saturating_add(1);
    let bucket = rank.ilog2() as usize;
    (bucket, rank - (1 << bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_distinct_and_the_last_block_has_one() {
        assert_eq!(
            [0, 1, 2, 3, 6, 7].map(place),
            [(0, 0), (1, 0), (1, 1), (2, 0), (2, 3), (3, 0)]
        );
        assert_eq!(place(1 << 20), (BUCKETS - 1, 1));
    }
}
