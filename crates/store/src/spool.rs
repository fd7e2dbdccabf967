//! Bytes on their way to a file: in memory while they are few, in a temporary file when they are many, and then in
//! place under their name all at once.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::{Error, IoContext};

/// Bytes that are kept in memory before a temporary file is begun.
const IN_MEMORY: usize = 1024 * 1024;

/// A growing sequence of bytes. Dropped without [`Spool::place`] it leaves nothing.
#[derive(Debug)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<Temporary>,
    dir: PathBuf,
    len: u64,
}

/// A file that is removed when it is dropped, unless it was renamed.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // What cannot be removed now is removed at the next start, by its name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Temporary {
    fn create(dir: &Path) -> io::Result<Temporary> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}-{number}.tmp", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Temporary {
            file,
            path,
            placed: false,
        })
    }
}

impl Spool {
    /// An empty spool whose temporary file, if it needs one, is in `dir`.
    pub(crate) fn new(dir: &Path) -> Spool {
        Spool {
            memory: Vec::new(),
            file: None,
            dir: dir.to_owned(),
            len: 0,
        }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads it from the beginning.
    pub(crate) fn reader(&mut self) -> Result<Box<dyn Read + '_>, Error> {
        match &mut self.file {
            None => Ok(Box::new(Cursor::new(&self.memory))),
            Some(temporary) => {
                flush(&mut self.memory, temporary).during("write a file in", &self.dir)?;
                temporary
                    .file
                    .seek(SeekFrom::Start(0))
                    .during("seek in", &temporary.path)?;
                Ok(Box::new(io::BufReader::with_capacity(
                    256 * 1024,
                    &temporary.file,
                )))
            }
        }
    }

    /// Writes the bytes to the temporary file, so that only the renaming is left to do.
    pub(crate) fn spill(&mut self) -> Result<(), Error> {
        let temporary = match &mut self.file {
            Some(temporary) => temporary,
            none => none.insert(
                Temporary::create(&self.dir).during("create a temporary file in", &self.dir)?,
            ),
        };
        flush(&mut self.memory, temporary).during("write a file in", &self.dir)
    }

    /// Puts the bytes in place as the file `path`, in the same directory, complete or not at all. Not synced.
    /// Returns them if they still were in memory.
    pub(crate) fn place(mut self, path: &Path) -> Result<Option<Bytes>, Error> {
        let spilled = self.file.is_some();
        let mut temporary = match self.file.take() {
            Some(temporary) => temporary,
            None => Temporary::create(&self.dir).during("create a temporary file in", &self.dir)?,
        };
        if spilled {
            flush(&mut self.memory, &mut temporary).during("write a file in", &self.dir)?;
        } else {
            temporary
                .file
                .write_all(&self.memory)
                .during("write a file in", &self.dir)?;
        }
        fs::rename(&temporary.path, path).during("rename to", path)?;
        temporary.placed = true;
        Ok((!spilled).then(|| Bytes::from(std::mem::take(&mut self.memory))))
    }
}

fn flush(memory: &mut Vec<u8>, temporary: &mut Temporary) -> io::Result<()> {
    temporary.file.seek(SeekFrom::End(0))?;
    temporary.file.write_all(memory)?;
    memory.clear();
    Ok(())
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.memory.len() + bytes.len() > IN_MEMORY {
            let temporary = match &mut self.file {
                Some(temporary) => temporary,
                None => self.file.insert(Temporary::create(&self.dir)?),
            };
            flush(&mut self.memory, temporary)?;
        }
        self.memory.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_arrive_whole_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        for size in [10, IN_MEMORY + 7, 3 * IN_MEMORY + 1] {
            let data: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let mut spool = Spool::new(dir.path());
            for chunk in data.chunks(100_000) {
                spool.write_all(chunk).unwrap();
            }
            let mut read = Vec::new();
            spool.reader().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == data, "{size}");
            let path = dir.path().join("x");
            let kept = spool.place(&path).unwrap();
            assert_eq!(kept.is_some(), size <= IN_MEMORY);
            assert!(fs::read(&path).unwrap() == data, "{size}");
            fs::remove_file(&path).unwrap();
        }
        let mut dropped = Spool::new(dir.path());
        dropped.write_all(&vec![1; IN_MEMORY * 2]).unwrap();
        drop(dropped);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
