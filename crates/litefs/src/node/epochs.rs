//! The epochs that this node knows of, in two files of its data directory that hold a decimal number each: `epoch`, the
//! highest that it ever heard of, and `epoch-synced`, the highest that it led, or in which it had all that the primary had.
//!
//! Both only grow. A static lease has no place of its own to keep them; with elections they are what a node says of itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, anyhow};

const SEEN: &str = "epoch";
const SYNCED: &str = "epoch-synced";

/// What is known, and where it is kept.
pub(super) struct Epochs {
    dir: PathBuf,
    now: Mutex<Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    seen: u64,
    synced: u64,
}

impl Epochs {
    /// Reads them; a node that was never part of a cluster has heard of none.
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Epochs> {
        let seen = read(&data_dir.join(SEEN))?;
        let synced = read(&data_dir.join(SYNCED))?;
        Ok(Epochs {
            dir: data_dir.to_owned(),
            now: Mutex::new(Known { seen, synced }),
        })
    }

    /// The highest that it ever heard of.
    pub(super) fn seen(&self) -> u64 {
        self.known().seen
    }

    /// The highest that it led, or in which it had all that the primary had.
    pub(super) fn synced(&self) -> u64 {
        self.known().synced
    }

    /// Heard of one. Durable when this returns.
    pub(super) fn saw(&self, epoch: u64) -> anyhow::Result<()> {
        self.raise(SEEN, epoch, |known| &mut known.seen)
    }

    /// Had all of one, or begins to lead it. Durable when this returns.
    pub(super) fn had_all_of(&self, epoch: u64) -> anyhow::Result<()> {
        self.saw(epoch)?;
        self.raise(SYNCED, epoch, |known| &mut known.synced)
    }

    fn known(&self) -> Known {
        *self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn raise(
        &self,
        file: &str,
        epoch: u64,
        which: fn(&mut Known) -> &mut u64,
    ) -> anyhow::Result<()> {
        let mut known = self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = which(&mut known);
        if epoch > *number {
            write(&self.dir.join(file), epoch)?;
            *number = epoch;
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim_end()
            .parse()
            .map_err(|_| anyhow!("{}: not the number of an epoch", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// After a crash the file holds the new number or the one before.
fn write(path: &Path, epoch: u64) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let written = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{epoch}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    written().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_only_grow_and_garbage_is_named() {
        let name = format!("litefs-epochs-{:016x}", rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let epochs = Epochs::open(&directory).unwrap();
        assert_eq!((epochs.seen(), epochs.synced()), (0, 0));
        epochs.saw(7).unwrap();
        epochs.saw(3).unwrap();
        epochs.had_all_of(5).unwrap();
        assert_eq!((epochs.seen(), epochs.synced()), (7, 5));
        epochs.had_all_of(8).unwrap();
        let again = Epochs::open(&directory).unwrap();
        assert_eq!((again.seen(), again.synced()), (8, 8));
        fs::write(directory.join(SEEN), "eight").unwrap();
        let error = Epochs::open(&directory).err().unwrap().to_string();
        let expected = format!(
            "{}: not the number of an epoch",
            directory.join(SEEN).display()
        );
        assert_eq!(error, expected);
        fs::remove_dir_all(&directory).unwrap();
    }
}
