//! The worker's side.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::MsgFlags;
use nix::sys::stat::{SFlag, fstat};

use super::connection::Connection;
use super::message::{Message, receive, send};
use super::table::{NO_DEADLINE, Table};

/// What the guard's own table is kept as.
pub(super) const TABLE: &str = "table";
/// The FUSE device.
pub(super) const DEVICE: &str = "device";
/// What the mount knows of inodes and handles.
const SESSION: &str = "session";
/// The locked lock file of the data directory.
const LOCK: &str = "lock";
/// The listening socket of the API.
const PORT: &str = "port";

/// Then the name of a database that is being written in place.
const EXCLUSIVE: &str = "exclusive ";

/// The conversation with the guard. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: OwnedFd,
    table: Table,
}

/// What a worker before this one has left.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// How many workers there were before.
    pub(crate) before: u32,
    /// The FUSE device, and what the mount knows of inodes and handles: the mount is there.
    pub(crate) session: Option<(OwnedFd, OwnedFd)>,
    /// The lock of the data directory.
    pub(crate) lock: Option<File>,
    /// The listening socket of the API.
    pub(crate) port: Option<OwnedFd>,
    /// Files on which the guard holds locks, by database: the database, and the -shm.
    pub(crate) locked: BTreeMap<String, (File, Option<File>)>,
    /// Databases that were being written in place, by name, with the lock for that.
    pub(crate) exclusive: BTreeMap<String, File>,
    /// Databases whose -wal was taken away from whoever has it open.
    pub(crate) revoked: Vec<String>,
}

impl Link {
    /// Takes up the conversation on the descriptor that the guard has passed on.
    pub(crate) fn take_up(descriptor: RawFd) -> anyhow::Result<(Link, Inherited)> {
        // SAFETY: only looked at; if it is not open that is an error.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let kind = fstat(borrowed).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
        if !kind.is_ok_and(|kind| kind & SFlag::S_IFMT == SFlag::S_IFSOCK) {
            return Err(anyhow!("to be run by `litefs mount` only"));
        }
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        // SAFETY: the guard made this descriptor for this process, and nothing else in it knows the number.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mut kept = BTreeMap::new();
        let mut inherited = Inherited::default();
        loop {
            let received = receive(socket.as_fd(), MsgFlags::empty()).context("hear the guard")?;
            let (message, descriptors) = received.context("the guard is gone")?;
            let mut files = descriptors.into_iter();
            match message {
                Message::Keep(name) => {
                    kept.extend(files.next().map(|file| (name, file)));
                }
                Message::Locked { db, .. } => {
                    if let Some(database) = files.next() {
                        let files = (File::from(database), files.next().map(File::from));
                        inherited.locked.insert(db, files);
                    }
                }
                Message::LetGo { db } => inherited.revoked.push(db),
                Message::Go { before } => {
                    inherited.before = before;
                    break;
                }
                _ => {}
            }
        }
        let table = kept.remove(TABLE).context("the guard has no table")?;
        inherited.session = kept.remove(DEVICE).zip(kept.remove(SESSION));
        inherited.port = kept.remove(PORT);
        inherited.lock = kept.remove(LOCK).map(File::from);
        inherited.exclusive = kept
            .into_iter()
            .filter_map(|(name, file)| {
                Some((name.strip_prefix(EXCLUSIVE)?.to_owned(), File::from(file)))
            })
            .collect();
        let table = Table::open(table).context("the guard's table")?;
        Ok((Link(Arc::new(Inner { socket, table })), inherited))
    }

    fn say(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.socket.as_fd(), message, descriptors)
    }

    /// Has the session kept for a successor, before anybody can use it.
    pub(crate) fn keep_session(
        &self,
        device: BorrowedFd<'_>,
        session: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.say(&Message::Keep(SESSION.into()), &[session])?;
        self.say(&Message::Keep(DEVICE.into()), &[device])
    }

    /// Has the port kept: its clients wait for the successor.
    pub(crate) fn keep_port(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.say(&Message::Keep(PORT.into()), &[listener])
    }

    /// Has the lock of the data directory kept.
    pub(crate) fn keep_lock(&self, lock: &File) -> io::Result<()> {
        self.say(&Message::Keep(LOCK.into()), &[lock.as_fd()])
    }

    /// Has the guard keep applications from committing to a database when this process cannot see it.
    pub(crate) fn hold(&self, db: &str, files: &store::Held) -> io::Result<()> {
        let message = Message::Hold {
            db: db.to_owned(),
            shm: files.shm.is_some(),
            wal: files.wal.is_some(),
        };
        let all = [
            Some(&files.database),
            files.shm.as_ref(),
            files.wal.as_ref(),
        ];
        let descriptors: Vec<_> = all.into_iter().flatten().map(|file| file.as_fd()).collect();
        self.say(&message, &descriptors)
    }

    /// Ends that. Locks that the guard has are this process's from now on, if it has the same open files.
    pub(crate) fn let_go(&self, db: &str) -> io::Result<()> {
        self.say(&Message::LetGo { db: db.to_owned() }, &[])
    }

    /// Has the file kept under whose lock a database is being written, or ends that.
    pub(crate) fn keep_exclusive(&self, db: &str, locked: Option<&File>) -> io::Result<()> {
        let descriptor = locked.map(|file| file.as_fd());
        self.say(
            &Message::Keep(format!("{EXCLUSIVE}{db}")),
            descriptor.as_slice(),
        )
    }

    /// The mount at `dir` is there, and nobody shall hang on it.
    pub(crate) fn mounted(&self, dir: &Path) -> io::Result<()> {
        let Connection { number, dir } = Connection::of(dir)?;
        let message = Message::Mounted {
            connection: number,
            dir,
        };
        self.say(&message, &[])
    }

    /// The mount is gone. The guard is, too, if that cannot be said.
    pub(crate) fn unmounted(&self) {
        let _ = self.say(&Message::Unmounted, &[]);
    }

    /// The node is up.
    pub(crate) fn ready(&self) -> io::Result<()> {
        self.say(&Message::Ready, &[])
    }

    /// This node may commit to a database: applications are let in again.
    pub(crate) fn release(&self, db: &str) -> io::Result<()> {
        self.say(&Message::Release { db: db.to_owned() }, &[])
    }

    /// The same for all databases. The guard is gone if that cannot be said.
    pub(crate) fn release_all(&self) {
        let _ = self.say(&Message::ReleaseAll, &[]);
    }

    /// This process ends for a successor.
    pub(crate) fn leaving(&self) -> io::Result<()> {
        self.say(&Message::Leaving, &[])
    }

    /// Until when applications may commit, on CLOCK_BOOTTIME; without one the guard fences only when this process dies.
    ///
    /// Whoever has fenced by himself takes the deadline away; an expired one costs this process its life.
    pub(crate) fn set_deadline(&self, deadline: Option<Duration>) -> io::Result<()> {
        let nanos = deadline.map_or(NO_DEADLINE, |deadline| {
            u64::try_from(deadline.as_nanos()).unwrap_or(NO_DEADLINE)
        });
        if self.0.table.set_deadline(nanos) {
            self.say(&Message::Deadline, &[])?;
        }
        Ok(())
    }

    /// The epoch that the deadline is of; 0 for none.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.0.table.set_epoch(epoch);
    }

    /// Waits until the guard asks for a successor. `false` if the guard is gone.
    pub(crate) fn wait_for_leave(&self) -> bool {
        loop {
            match receive(self.0.socket.as_fd(), MsgFlags::empty()) {
                Ok(Some((Message::Leave, _))) => return true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }
}
