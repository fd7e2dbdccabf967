//! What a run left behind that was killed itself, and so could not clean up: processes, mounts, directories.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::mount::{abort, mounts_below, unmount};
use crate::process::kill_tagged;

/// How the directory of a stage begins. Its whole name is the tag of its processes.
pub(crate) const PREFIX: &str = "litefs-test-";
/// Younger ones may belong to a stage that is only just being set up.
const SETTLED: Duration = Duration::from_secs(60);

/// Holds the directory of a stage, so that no other run takes it for a leftover.
pub(crate) fn hold(directory: &Path) -> Flock<File> {
    let file = File::open(directory).expect("the directory of a stage can be opened");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("nobody else knows the directory yet")
}

/// Removes the stages in `parent` that nobody holds.
pub fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if !name.starts_with(PREFIX) || age.is_none_or(|age| age < SETTLED) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            clear(&entry.path(), &name);
        }
    }
}

/// Ends the processes of a stage, takes its mounts away and removes its directory.
pub(crate) fn clear(directory: &Path, tag: &str) {
    kill_tagged(tag);
    for point in mounts_below(directory).iter().rev() {
        abort(point);
        unmount(point);
    }
    // Removing files through a mount that is still there would be the product's problem, and might never end.
    if mounts_below(directory).is_empty() {
        if let Err(error) = fs::remove_dir_all(directory) {
            eprintln!("{} stays: {error}", directory.display());
        }
    } else {
        eprintln!("still mounted, so it stays: {}", directory.display());
    }
}
