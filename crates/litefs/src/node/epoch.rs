//! The last epoch of this node, in the file `epoch` of its data directory: a decimal number.
//!
//! A static lease has no place of its own to keep it. It only grows, so that replicas can tell a primary from an
//! earlier life of it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};

const FILE: &str = "epoch";

/// The epoch that was written last; 0 if none was.
pub(super) fn read(data_dir: &Path) -> anyhow::Result<u64> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim_end()
            .parse()
            .map_err(|_| anyhow!("{}: not the number of an epoch", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Makes an epoch durable: after a crash the file holds it or the one before.
pub(super) fn write(data_dir: &Path, epoch: u64) -> anyhow::Result<()> {
    let path = data_dir.join(FILE);
    let temporary = data_dir.join("epoch.tmp");
    let written = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{epoch}")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(data_dir)?.sync_all()
    };
    written().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_garbage_is_named() {
        let directory =
            std::env::temp_dir().join(format!("litefs-epoch-{:016x}", rand::random::<u64>()));
        fs::create_dir(&directory).unwrap();
        assert_eq!(read(&directory).unwrap(), 0);
        write(&directory, 7).unwrap();
        write(&directory, 8).unwrap();
        assert_eq!(read(&directory).unwrap(), 8);
        fs::write(directory.join(FILE), "eight").unwrap();
        let error = read(&directory).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{}: not the number of an epoch",
                directory.join(FILE).display()
            )
        );
        fs::remove_dir_all(&directory).unwrap();
    }
}
