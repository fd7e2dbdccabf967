//! Why there is no mount.

use std::io;
use std::path::PathBuf;

/// An error of mounting or unmounting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory to mount on cannot be used.
    #[error("mount point {dir}: {reason}", dir = dir.display())]
    MountPoint {
        /// The directory.
        dir: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// No FUSE device.
    #[error("cannot open /dev/fuse: {hint}")]
    Device {
        /// What to do.
        hint: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The mount was refused.
    #[error("mount on {dir}: {hint}", dir = dir.display())]
    Mount {
        /// The directory.
        dir: PathBuf,
        /// What to do.
        hint: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The conversation with the kernel failed.
    #[error("FUSE session on {dir}", dir = dir.display())]
    Session {
        /// The directory.
        dir: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The mount could not be taken down.
    #[error("unmount {dir}", dir = dir.display())]
    Unmount {
        /// The directory.
        dir: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}
