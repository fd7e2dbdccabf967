//! What a test stands on: a directory, a time limit, a tag for its processes, a place among the tests that run.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::mount::{mounts_below, unmount};
use crate::permit::Permit;
use crate::process::kill_tagged;
use crate::requirement::{fuse_available, program_available};
use crate::watchdog::Watchdog;

/// The frame of one test. What is started in it must be dropped before it.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they must go: the watchdog last of what can still act.
    directory: Option<TempDir>,
    tag: String,
    _watchdog: Watchdog,
    _permit: Permit,
}

impl Stage {
    /// A stage for a test with real mounts; none where they, or SQLite's command line program, are not to be had.
    pub fn with_mounts(limit: Duration) -> Option<Stage> {
        let met = fuse_available() && program_available("sqlite3") && program_available("python3");
        met.then(|| Stage::new(limit))
    }

    /// A stage for whatever needs no mount, where temporary files are.
    pub fn new(limit: Duration) -> Stage {
        Stage::new_in(&std::env::temp_dir(), limit)
    }

    /// A stage whose directory is in `parent`.
    pub fn new_in(parent: &Path, limit: Duration) -> Stage {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let permit = Permit::acquire();
        let tag = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let made = tempfile::Builder::new()
            .prefix("litefs-test-")
            .tempdir_in(parent);
        let directory =
            made.unwrap_or_else(|error| panic!("a directory in {}: {error}", parent.display()));
        let watchdog = Watchdog::new(limit, directory.path().to_owned(), tag.clone());
        Stage {
            directory: Some(directory),
            tag,
            _watchdog: watchdog,
            _permit: permit,
        }
    }

    /// Where everything of this test is.
    pub fn directory(&self) -> &Path {
        self.directory
            .as_ref()
            .expect("a stage has a directory until it goes")
            .path()
    }

    /// The mark of the processes of this test.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        kill_tagged(&self.tag);
        let Some(directory) = self.directory.take() else {
            return;
        };
        for point in mounts_below(directory.path()).iter().rev() {
            unmount(point);
        }
        // Removing files through a mount that is still there would be the product's problem, and might never end.
        if mounts_below(directory.path()).is_empty() {
            if let Err(error) = directory.close() {
                eprintln!("the directory of the test stays: {error}");
            }
        } else {
            eprintln!("still mounted, so it stays: {}", directory.keep().display());
        }
    }
}
