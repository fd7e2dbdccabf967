//! A small file system of its own, for full disks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::mount::unmount;

/// A file system in memory, mounted until dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of `bytes` on the directory `point`, which is made.
    ///
    /// # Panics
    /// If that is not possible: it needs root.
    pub fn new(point: &Path, bytes: u64) -> Tmpfs {
        Tmpfs::mounted(point, &format!("size={bytes}"), MsFlags::empty())
    }

    /// An empty one that nobody can write to.
    pub fn read_only(point: &Path) -> Tmpfs {
        Tmpfs::mounted(point, "size=1m", MsFlags::MS_RDONLY)
    }

    fn mounted(point: &Path, options: &str, flags: MsFlags) -> Tmpfs {
        fs::create_dir_all(point).expect("the directory of a stage is ours");
        mount(Some("tmpfs"), point, Some("tmpfs"), flags, Some(options))
            .expect("root can mount a tmpfs");
        Tmpfs(point.to_owned())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills what is free but for `spare` bytes with the file `ballast`. It can be called again for what became free.
    pub fn fill(&self, spare: u64) {
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("open the ballast");
        let block = [0u8; 4096];
        loop {
            let more = self.free().saturating_sub(spare).min(block.len() as u64);
            let part = &block[..usize::try_from(more).expect("at most a block")];
            // Others write here too: the last blocks may be gone by now.
            if !matches!(ballast.write(part), Ok(written) if written > 0) {
                return;
            }
        }
    }

    /// Gives the space back.
    pub fn release(&self) {
        fs::remove_file(self.ballast()).expect("the ballast is there");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn free(&self) -> u64 {
        let status = nix::sys::statvfs::statvfs(&self.0).expect("it is mounted");
        status.blocks_available() * status.fragment_size()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}
