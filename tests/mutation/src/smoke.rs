//! The run itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::allocation::measure;
use crate::mutator::Mutator;

/// Names a larger number of mutations than that of [`Smoke::mutations`], for a longer run.
const MUTATIONS: &str = "LITEFS_MUTATIONS";
/// Names another seed of the mutations.
const SEED: &str = "LITEFS_MUTATION_SEED";
/// Most bytes of an input that are printed when it fails.
const SHOWN: usize = 4096;
/// An input of this size that takes longer than this is a loop.
const SLOW: Duration = Duration::from_secs(5);

/// A run over seeds and mutations of them.
#[derive(Debug, Clone, Copy)]
pub struct Smoke {
    /// How many mutations are tried.
    pub mutations: u64,
    /// No input is longer, in bytes.
    pub longest: usize,
    /// The most memory that an input of a given length may take, in bytes: so much, and so much for each byte.
    pub memory: (usize, usize),
}

impl Smoke {
    /// Runs `body` over the seeds and over mutations of them.
    ///
    /// # Panics
    /// If `body` does, or takes more memory or time than it may; the input is printed.
    #[track_caller]
    pub fn run(&self, seeds: &[Vec<u8>], body: impl Fn(&[u8])) {
        assert!(!seeds.is_empty(), "there are no seeds");
        for seed in seeds {
            self.try_one(seed, &body);
        }
        self.try_one(&[], &body);
        let mut mutator = Mutator::new(number(SEED).unwrap_or(1));
        for _ in 0..number(MUTATIONS).unwrap_or(self.mutations) {
            self.try_one(&mutator.next(seeds, self.longest), &body);
        }
    }

    #[track_caller]
    fn try_one(&self, bytes: &[u8], body: &impl Fn(&[u8])) {
        let shown = Shown(bytes);
        let begun = Instant::now();
        let (measured, ()) = measure(|| body(bytes));
        let (base, each) = self.memory;
        let most = base + each * bytes.len();
        assert!(
            measured.peak <= most,
            "{} bytes of memory for {} bytes of input",
            measured.peak,
            bytes.len()
        );
        assert!(begun.elapsed() < SLOW, "it took {:?}", begun.elapsed());
        drop(shown);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Prints the input if it is dropped by a panic.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self
                .0
                .iter()
                .take(SHOWN)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            eprintln!("the input has {} bytes: {hex}", self.0.len());
        }
    }
}

/// The files in `directory` that are not longer than `longest`, in the order of their names.
///
/// # Panics
/// If it cannot be read.
#[track_caller]
pub fn seeds_in(directory: &Path, longest: u64) -> Vec<Vec<u8>> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a directory can be listed").path())
        .filter(|path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.len() <= longest)
        })
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a seed can be read"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const SMOKE: Smoke = Smoke {
        mutations: 2000,
        longest: 100,
        memory: (1 << 20, 1),
    };

    fn fails(body: impl Fn(&[u8])) -> bool {
        let seeds = [b"0123456789".to_vec(), vec![7; 40]];
        catch_unwind(AssertUnwindSafe(|| SMOKE.run(&seeds, body))).is_err()
    }

    #[test]
    fn inputs_are_many_and_the_same_in_each_run() {
        let inputs = || {
            let seen = RefCell::new(Vec::new());
            assert!(!fails(|bytes| seen.borrow_mut().push(bytes.to_vec())));
            seen.into_inner()
        };
        let first = inputs();
        assert_eq!(first, inputs());
        let different: HashSet<_> = first.iter().collect();
        assert!(different.len() > 1000, "{}", different.len());
        assert!(first.iter().all(|bytes| bytes.len() <= 100));
    }

    #[test]
    fn a_parser_that_believes_a_number_is_found() {
        assert!(fails(|bytes| {
            let number = bytes.get(1..5).map(|word| word[0]);
            assert_ne!(number, Some(0xff));
        }));
    }

    #[test]
    fn memory_is_counted() {
        let calls = Cell::new(0);
        let greedy = |bytes: &[u8]| {
            calls.set(calls.get() + 1);
            if bytes.len() == 40 {
                std::hint::black_box(Vec::<u8>::with_capacity(2 << 20));
            }
        };
        assert!(fails(greedy));
        assert_eq!(calls.get(), 2, "the second seed is the one");
    }
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: crate::Counting = crate::Counting;
