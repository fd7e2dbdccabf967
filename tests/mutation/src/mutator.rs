//! Random changes of the kind that finds mistakes in parsers.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Changes one after the other, at most, to one input.
const CHANGES: usize = 6;

/// Numbers at which parsers go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x200,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX,
];

/// Makes inputs out of others. The same seed makes the same ones.
#[derive(Debug)]
pub struct Mutator(StdRng);

impl Mutator {
    /// A mutator with a seed.
    pub fn new(seed: u64) -> Mutator {
        Mutator(StdRng::seed_from_u64(seed))
    }

    /// One of the seeds, changed a few times, and not longer than `max`.
    pub fn next(&mut self, seeds: &[Vec<u8>], max: usize) -> Vec<u8> {
        let mut bytes = self.pick(seeds).to_vec();
        for _ in 0..self.0.random_range(1..=CHANGES) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(max);
        bytes
    }

    fn pick<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a [u8] {
        &seeds[self.0.random_range(0..seeds.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        if bytes.is_empty() {
            bytes.push(self.0.random());
            return;
        }
        let at = self.place(bytes.len());
        match self.0.random_range(0..9) {
            0 => bytes[at] ^= 1 << self.0.random_range(0..8),
            1 => bytes[at] = self.0.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + self.length()).min(bytes.len()))),
            4 => self.splice(bytes, at, seeds),
            5 => self.repeat(bytes, at),
            6 => {
                let end = (at + self.length()).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => self.edit_integer(bytes, at),
        }
    }

    /// Half of the time near the beginning, where the headers are.
    fn place(&mut self, length: usize) -> usize {
        let near = length.min(64);
        let end = if self.0.random() { near } else { length };
        self.0.random_range(0..end)
    }

    fn length(&mut self) -> usize {
        1 << self.0.random_range(0..10)
    }

    /// Puts a part of some seed over, or between, what is there.
    fn splice(&mut self, bytes: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>]) {
        let other = self.pick(seeds);
        if other.is_empty() {
            return;
        }
        let from = self.0.random_range(0..other.len());
        let part = &other[from..(from + self.length()).min(other.len())];
        let end = if self.0.random() {
            at
        } else {
            (at + part.len()).min(bytes.len())
        };
        bytes.splice(at..end, part.iter().copied());
    }

    fn repeat(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let end = (at + self.length()).min(bytes.len());
        let part = bytes[at..end].to_vec();
        bytes.splice(at..at, part);
    }

    /// Sets an integer of 1, 2, 4 or 8 bytes, in either order, to an edge, or moves it by a little.
    fn edit_integer(&mut self, bytes: &mut [u8], at: usize) {
        let width = 1 << self.0.random_range(0..4);
        let Some(field) = bytes.get_mut(at..at + width) else {
            return;
        };
        let big_endian: bool = self.0.random();
        if !big_endian {
            field.reverse();
        }
        let old = field
            .iter()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let new = if self.0.random() {
            EDGES[self.0.random_range(0..EDGES.len())]
        } else {
            old.wrapping_add(self.0.random_range(0..8)).wrapping_sub(4)
        };
        field.copy_from_slice(&new.to_be_bytes()[8 - width..]);
        if !big_endian {
            field.reverse();
        }
    }
}
