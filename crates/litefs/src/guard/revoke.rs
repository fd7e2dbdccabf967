//! Taking a log away from connections that no lock keeps from committing (in the middle of a transaction, or in
//! exclusive locking mode): every handle on its inode fails from then on.
//!
//! A GETATTR is forced and answered with another file type: the kernel calls the inode bad. The worker is dead, so the
//! guard reads the request from the FUSE device and answers it itself. Whatever else it reads there is for the next
//! worker, to whom the kernel sends all that was read and not answered again.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// As long as one READ of the device must be able to be: the longest WRITE (1 MiB), and its headers.
const BUFFER: usize = 1024 * 1024 + 64 * 1024;

/// How long to wait for the kernel's question.
const PATIENCE: Duration = Duration::from_secs(1);

const FUSE_GETATTR: u32 = 3;

/// What is read of a request's header (`struct fuse_in_header`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    opcode: u32,
    unique: u64,
    node: u64,
    thread: u32,
}

impl Request {
    fn parse(bytes: &[u8]) -> Option<Request> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Request {
            opcode: u32_at(4)?,
            unique: u64_at(8)?,
            node: u64_at(16)?,
            thread: u32_at(32)?,
        })
    }
}

/// `struct fuse_out_header` and `struct fuse_attr_out`: the attributes of a directory.
fn answer(request: Request) -> [u8; 120] {
    let mut bytes = [0; 120];
    bytes[..4].copy_from_slice(&120u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&request.unique.to_le_bytes());
    // attr.ino, attr.mode and attr.nlink.
    bytes[32..40].copy_from_slice(&request.node.to_le_bytes());
    bytes[92..96].copy_from_slice(&(libc::S_IFDIR | 0o700).to_le_bytes());
    bytes[96..100].copy_from_slice(&1u32.to_le_bytes());
    bytes
}

/// Makes all handles on the inode of `file` fail. Nobody else may be reading the device.
pub(super) fn revoke(device: &OwnedFd, file: BorrowedFd<'_>) -> io::Result<()> {
    let file = file.try_clone_to_owned()?;
    let (thread, asking) = mpsc::channel();
    let (refused, outcome) = mpsc::channel();
    // The question waits for the answer, so it is asked by another thread.
    std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || {
            let _ = thread.send(nix::unistd::gettid().as_raw().unsigned_abs());
            let _ = refused.send(force_getattr(&file));
        })?;
    let thread = asking.recv().map_err(io::Error::other)?;
    reply_to(device, thread)?;
    match outcome.recv_timeout(PATIENCE) {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(())) => Err(io::Error::other(
            "the kernel took the answer for a good one",
        )),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Reads from the device until the question of `thread` comes, and answers that.
fn reply_to(device: &OwnedFd, thread: u32) -> io::Result<()> {
    let mut stream = File::from(device.try_clone()?);
    let mut bytes = vec![0; BUFFER];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let length = match stream.read(&mut bytes) {
            Ok(length) => length,
            // It was interrupted before it was read.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let request = Request::parse(&bytes[..length]);
        let Some(request) = request.filter(|request| request.thread == thread) else {
            continue;
        };
        if request.opcode == FUSE_GETATTR {
            return stream.write_all(&answer(request));
        }
    }
}

fn force_getattr(file: &OwnedFd) -> io::Result<()> {
    let mut into = MaybeUninit::<libc::statx>::uninit();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC;
    // SAFETY: the descriptor is open, the path is empty and ends with NUL, and the kernel writes at most one statx to
    // `into`, which is not read.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_SIZE,
            into.as_mut_ptr(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_a_short_one_is_none() {
        let mut bytes = [0; 40];
        bytes[4] = 3;
        bytes[8] = 9;
        bytes[15] = 0x80;
        bytes[16] = 5;
        bytes[32] = 77;
        let request = Request {
            opcode: FUSE_GETATTR,
            unique: 0x8000_0000_0000_0009,
            node: 5,
            thread: 77,
        };
        assert_eq!(Request::parse(&bytes), Some(request));
        assert_eq!(Request::parse(&bytes[..35]), None);
    }

    #[test]
    fn the_answer_is_that_of_a_directory() {
        let request = Request {
            opcode: FUSE_GETATTR,
            unique: 9,
            node: 5,
            thread: 1,
        };
        let bytes = answer(request);
        assert_eq!(bytes[0], 120);
        assert_eq!((bytes[8], bytes[32]), (9, 5));
        assert_eq!(
            u32::from_le_bytes(bytes[92..96].try_into().unwrap()) & libc::S_IFMT,
            libc::S_IFDIR
        );
    }
}
