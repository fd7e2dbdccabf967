//! The file that is imported, and the checks that it is a whole database.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use sqlite::header::DatabaseHeader;
use sqlite::lock::SHARED;

/// An open database file with nothing to recover beside it. It holds SQLite's SHARED lock, so that no other
/// process changes the file meanwhile.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Source {
    /// Opens and checks the database at `path`.
    pub(super) fn open(path: &Path) -> anyhow::Result<Source> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("open {shown}"))?;
        let metadata = file.metadata().with_context(|| format!("open {shown}"))?;
        if !metadata.is_file() {
            bail!("{shown} is not a regular file");
        }
        lock_shared(&file, path)?;
        check_companions(path)?;
        let size = database_size(&mut file, path, metadata.len())?;
        file.seek(SeekFrom::Start(0))
            .with_context(|| format!("read {shown}"))?;
        Ok(Source {
            file,
            path: path.to_owned(),
            size,
        })
    }

    /// The size of the database in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Hands the database to `send` in pieces, until it answers `false`. The last piece is handed over only if
    /// the file is still what was checked.
    pub(super) fn read(mut self, mut send: impl FnMut(Vec<u8>) -> bool) -> anyhow::Result<()> {
        let mut left = self.size;
        while left > 0 {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)];
            self.file
                .read_exact(&mut piece)
                .map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        anyhow!("{} became shorter while it was read", self.path.display())
                    }
                    _ => anyhow::Error::new(error).context(format!("read {}", self.path.display())),
                })?;
            left -= piece.len() as u64;
            if left == 0 {
                // In WAL mode the SHARED lock keeps nobody from committing.
                check_companions(&self.path)
                    .context("the database was written to while it was read")?;
            }
            if !send(piece) {
                break;
            }
        }
        Ok(())
    }
}

/// Bytes per piece.
const PIECE: usize = 256 * 1024;

/// Takes the lock that SQLite's readers take. It belongs to the open file, and goes with it.
fn lock_shared(file: &File, path: &Path) -> anyhow::Result<()> {
    let lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: SHARED.start as libc::off_t,
        l_len: SHARED.len as libc::off_t,
        l_pid: 0,
    };
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(anyhow!(
            "{} is being written by another process: try again when it has finished",
            path.display()
        )),
        // A file system without locks has no other process that respects them.
        Err(Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(anyhow::Error::new(errno).context(format!("lock {}", path.display()))),
    }
}

/// Refuses a database of which a part is still in its write-ahead log or has to be rolled back first.
fn check_companions(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if first_byte(&companion(path, "-wal"))?.is_some() {
        bail!(
            "{shown} is not the whole database: {shown}-wal has content; write it back first: \
             sqlite3 {shown} 'PRAGMA wal_checkpoint(TRUNCATE)'"
        );
    }
    // A journal that begins with a zero byte is a finished one (journal_mode=PERSIST).
    if first_byte(&companion(path, "-journal"))?.is_some_and(|byte| byte != 0) {
        bail!(
            "{shown} has an unfinished transaction: {shown}-journal has content; roll it back first: \
             sqlite3 {shown} 'PRAGMA schema_version'"
        );
    }
    Ok(())
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn first_byte(path: &Path) -> anyhow::Result<Option<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let mut byte = [0];
    let read = file
        .read(&mut byte)
        .with_context(|| format!("read {}", path.display()))?;
    Ok((read > 0).then_some(byte[0]))
}

/// The size that the header gives, which must be in the file; where the header's is not valid, the file's.
fn database_size(file: &mut File, path: &Path, file_size: u64) -> anyhow::Result<u64> {
    let shown = path.display();
    let mut start = Vec::with_capacity(DatabaseHeader::SIZE);
    file.take(DatabaseHeader::SIZE as u64)
        .read_to_end(&mut start)
        .with_context(|| format!("read {shown}"))?;
    if start.is_empty() {
        bail!("{shown} is empty: it holds no database yet");
    }
    let header = DatabaseHeader::parse(&start).with_context(|| shown.to_string())?;
    let page_size = u64::from(header.page_size.get());
    if !file_size.is_multiple_of(page_size) {
        bail!(
            "{shown} has {file_size} bytes, which is not a multiple of its page size {page_size}: it is cut off"
        );
    }
    let pages = header
        .trusted_page_count()
        .map_or(file_size / page_size, u64::from);
    if file_size < pages * page_size {
        bail!(
            "{shown} has {} pages of {page_size} bytes, its header says {pages}: it is cut off",
            file_size / page_size
        );
    }
    Ok(pages * page_size)
}

#[cfg(test)]
mod tests;
