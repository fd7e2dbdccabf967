//! What the mount saw written to a database file since the last commit point.
//!
//! The journal alone does not tell what a transaction changed: SQLite does not journal free pages that it uses again.

use std::collections::BTreeMap;

/// Byte ranges that were written, and a count that moves with each write.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Start -> end; disjoint and not touching.
    ranges: BTreeMap<u64, u64>,
    generation: u64,
    /// Writes may have happened that nobody saw.
    unseen: bool,
}

impl Dirty {
    /// Notes a write.
    pub(crate) fn add(&mut self, start: u64, len: u64) {
        self.generation += 1;
        let (mut start, mut end) = (start, start + len);
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&next);
            end = end.max(next_end);
        }
        self.ranges.insert(start, end);
    }

    /// Notes a change of the file's length.
    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }

    /// Notes that writes may have happened that nobody saw: then only the whole file tells.
    pub(crate) fn note_unseen(&mut self) {
        self.generation += 1;
        self.unseen = true;
    }

    /// Moves with each write.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && !self.unseen
    }

    /// Bytes in the ranges.
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Indices (from 0) of the pages that were touched, ascending, without repetition.
    pub(crate) fn page_indices(&self, page_size: u64) -> Vec<u64> {
        let mut pages = Vec::new();
        for (start, end) in &self.ranges {
            let first = start / page_size;
            let from = pages.last().map_or(first, |last| first.max(last + 1));
            pages.extend(from..end.div_ceil(page_size));
        }
        pages
    }

    /// Forgets the writes: they are captured.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.unseen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_ranges_that_overlap_or_touch() {
        let mut dirty = Dirty::default();
        for (start, len) in [(100, 10), (120, 10), (110, 10), (0, 5), (500, 1), (90, 60)] {
            dirty.add(start, len);
        }
        assert_eq!(
            dirty.ranges.clone().into_iter().collect::<Vec<_>>(),
            [(0, 5), (90, 150), (500, 501)]
        );
        assert_eq!(dirty.generation(), 6);
        assert_eq!(dirty.bytes(), 66);
    }

    #[test]
    fn tells_each_page_once() {
        let mut dirty = Dirty::default();
        dirty.add(0, 10);
        dirty.add(20, 10);
        dirty.add(512, 1024);
        dirty.add(5000, 1);
        assert_eq!(dirty.page_indices(512), [0, 1, 2, 9]);
        dirty.clear();
        assert!(dirty.is_empty());
    }
}
