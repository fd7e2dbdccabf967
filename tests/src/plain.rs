//! A place without the product: what a workload or a checker does here is its own doing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::stage::Stage;

/// An ordinary directory to keep databases in.
#[derive(Debug)]
pub struct PlainDirectory(PathBuf);

impl PlainDirectory {
    /// A new one, in the directory of `stage`.
    pub fn new(stage: &Stage, name: &str) -> PlainDirectory {
        let path = stage.directory().join(name);
        fs::create_dir(&path).expect("the directory of a stage is ours");
        PlainDirectory(path)
    }

    /// The database `name`.
    pub fn database(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
