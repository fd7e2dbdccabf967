//! What a test stands on: a directory, a time limit, a tag for its processes, a place among the tests that run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use nix::fcntl::Flock;

use crate::leftovers::{PREFIX, clear, hold, sweep};
use crate::permit::Permit;
use crate::requirement::{fuse_available, program_available};
use crate::watchdog::Watchdog;

/// The frame of one test. What is started in it must be dropped before it.
#[derive(Debug)]
pub struct Stage {
    directory: PathBuf,
    tag: String,
    _held: Flock<File>,
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

    /// A stage whose directory is in `parent`. The first one of a run clears away what killed runs have left there.
    pub fn new_in(parent: &Path, limit: Duration) -> Stage {
        static FIRST: Once = Once::new();
        FIRST.call_once(|| sweep(parent));
        let permit = Permit::acquire();
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
        let directory = made
            .unwrap_or_else(|error| panic!("a directory in {}: {error}", parent.display()))
            .keep();
        let name = directory.file_name().expect("a new directory has a name");
        let tag = name.to_string_lossy().into_owned();
        let watchdog = Watchdog::new(limit, directory.clone(), tag.clone());
        Stage {
            _held: hold(&directory),
            directory,
            tag,
            _watchdog: watchdog,
            _permit: permit,
        }
    }

    /// Where everything of this test is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The mark of the processes of this test.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        clear(&self.directory, &self.tag);
    }
}
