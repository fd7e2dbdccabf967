//! The epochs that this node knows of, in the file `epoch` of its data directory, two decimal numbers: the highest that it
//! ever heard of, and the highest that it led, or in which it had all that the primary had (0, or missing: none).
//!
//! Both only grow. A static lease has no place of its own to keep them; with elections they are what a node says of itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, anyhow};

const FILE: &str = "epoch";

/// What is known, and where it is kept.
pub(super) struct Epochs {
    path: PathBuf,
    now: Mutex<Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Known {
    seen: u64,
    synced: u64,
}

impl Epochs {
    /// Reads them; a node that was never part of a cluster has heard of none.
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Epochs> {
        let path = data_dir.join(FILE);
        let now = Mutex::new(read(&path)?);
        Ok(Epochs { path, now })
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
        self.raise(epoch, 0)
    }

    /// Had all of one, or begins to lead it. Durable when this returns.
    pub(super) fn had_all_of(&self, epoch: u64) -> anyhow::Result<()> {
        self.raise(epoch, epoch)
    }

    fn known(&self) -> Known {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, seen: u64, synced: u64) -> anyhow::Result<()> {
        let mut known = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let raised = Known {
            seen: known.seen.max(seen),
            synced: known.synced.max(synced),
        };
        if raised != *known {
            write(&self.path, raised)?;
            *known = raised;
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Known> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Known::default()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[seen]) => Ok(Known { seen, synced: 0 }),
        Ok(&[seen, synced]) => Ok(Known { seen, synced }),
        _ => Err(anyhow!("{}: not the numbers of two epochs", path.display())),
    }
}

/// After a crash the file holds the new numbers or those before.
fn write(path: &Path, known: Known) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let written = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{} {}", known.seen, known.synced)?;
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
        fs::write(directory.join(FILE), "9\n").unwrap();
        let older = Epochs::open(&directory).unwrap();
        assert_eq!((older.seen(), older.synced()), (9, 0));
        for garbage in ["eight", "", "1 2 3"] {
            fs::write(directory.join(FILE), garbage).unwrap();
            let error = Epochs::open(&directory).err().unwrap().to_string();
            let path = directory.join(FILE);
            assert_eq!(
                error,
                format!("{}: not the numbers of two epochs", path.display())
            );
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
