//! Who runs with a data directory: the file `running` in it, for `litefs upgrade`. It is only true while the directory is
//! locked.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::commands::version;

/// The name of the file.
pub(crate) const FILE: &str = "running";

/// The processes of a node that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The process that a signal is to be sent to.
    pub(crate) guard: i32,
    /// The one that is to be replaced.
    pub(crate) worker: u32,
    /// What is started in its place.
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    /// Whether another process can go on with the mount.
    pub(crate) resumable: bool,
}

impl Running {
    /// This process.
    pub(super) fn this(resumable: bool) -> anyhow::Result<Running> {
        Ok(Running {
            guard: nix::unistd::getppid().as_raw(),
            worker: std::process::id(),
            program: std::env::current_exe().context("find this program")?,
            version: version::line(),
            resumable,
        })
    }

    /// Writes the file, as a whole.
    pub(super) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let (path, temporary) = (data_dir.join(FILE), data_dir.join("running.tmp"));
        let written = || -> std::io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(serde_json::to_string(self)?.as_bytes())?;
            fs::rename(&temporary, &path)
        };
        written().with_context(|| format!("write {}", path.display()))
    }

    /// Reads the file.
    pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Running> {
        let path = data_dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let name = format!("litefs-running-{:016x}", rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        assert!(Running::read(&directory).is_err());
        let running = Running::this(true).unwrap();
        running.write(&directory).unwrap();
        assert_eq!(Running::read(&directory).unwrap(), running);
        fs::write(directory.join(FILE), "{\"guard\":1}").unwrap();
        assert!(Running::read(&directory).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
