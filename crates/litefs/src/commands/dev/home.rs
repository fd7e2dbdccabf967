//! The directory that all nodes are in.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use super::mounts;

/// The name of the file whose lock keeps a second `litefs dev` out.
const LOCK: &str = "litefs-dev.lock";

/// The directory of one `litefs dev`.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// Whether it goes at the end.
    temporary: bool,
    /// Held as long as this process uses the directory.
    _lock: File,
}

impl Home {
    /// The directory that is given, made if it is not there; else a new one, which goes at the end unless `keep`.
    pub(super) fn new(given: Option<&Path>, keep: bool) -> anyhow::Result<Home> {
        let path = match given {
            Some(given) => given.to_owned(),
            None => std::env::temp_dir().join(format!("litefs-dev-{:08x}", rand::random::<u32>())),
        };
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("find {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(Home {
            path,
            temporary: given.is_none() && !keep,
            _lock: lock,
        })
    }

    /// An absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes at the end.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Removes the directory if it is temporary. With one of `mounts` still mounted it stays: to remove it
    /// would be to delete the databases through the mount.
    pub(super) fn leave(self, mounts: &[PathBuf]) -> anyhow::Result<()> {
        if let Some(mounted) = mounts.iter().find(|mount| mounts::is_mounted(mount)) {
            bail!(
                "{} is still mounted: close what uses it, then run umount {0}",
                mounted.display()
            );
        }
        if self.temporary {
            fs::remove_dir_all(&self.path)
                .with_context(|| format!("remove {}", self.path.display()))?;
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join(LOCK);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(anyhow!(
            "{} is in use by another litefs dev: give another --dir",
            directory.display()
        )),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_goes_and_a_given_one_stays() {
        let temporary = Home::new(None, false).unwrap();
        let path = temporary.path().to_owned();
        assert!(path.is_dir() && temporary.is_temporary());
        temporary.leave(&[]).unwrap();
        assert!(!path.exists());

        let given = Home::new(Some(&path), false).unwrap();
        let second = Home::new(Some(&path), false).unwrap_err().to_string();
        assert_eq!(
            second,
            format!(
                "{} is in use by another litefs dev: give another --dir",
                path.display()
            )
        );
        given.leave(&[]).unwrap();
        assert!(path.is_dir());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_directory_with_a_mount_in_it_stays() {
        let home = Home::new(None, false).unwrap();
        let path = home.path().to_owned();
        let error = home
            .leave(&[PathBuf::from("/proc")])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("/proc is still mounted"), "{error}");
        assert!(path.is_dir());
        fs::remove_dir_all(&path).unwrap();
    }
}
