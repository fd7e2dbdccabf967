//! Keeping applications from committing while no worker sees it: SQLite's own locks, on files that the worker opened
//! through the mount. They need no worker, and an application is told that the database is locked.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use sqlite::lock::{self, LockRange};

/// The stack of a thread that does nothing but wait for a lock.
const STACK: usize = 64 * 1024;

/// The files of a database.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) database: OwnedFd,
    /// `None` if some connection has the wal-index in its own memory (exclusive locking mode).
    pub(super) shm: Option<OwnedFd>,
    pub(super) wal: Option<OwnedFd>,
}

impl Files {
    /// From the descriptors of a message.
    pub(super) fn from_message(descriptors: Vec<OwnedFd>, shm: bool, wal: bool) -> Option<Files> {
        if descriptors.len() != 1 + usize::from(shm) + usize::from(wal) {
            return None;
        }
        let mut descriptors = descriptors.into_iter();
        let database = descriptors.next()?;
        let shm = if shm { descriptors.next() } else { None };
        let wal = if wal { descriptors.next() } else { None };
        Some(Files { database, shm, wal })
    }
}

/// A database that applications are to be kept out of.
#[derive(Debug)]
pub(super) struct Fenced {
    files: Arc<Files>,
    state: Arc<State>,
}

/// How far it has come, between the guard and the thread that waits for the locks.
#[derive(Debug)]
struct State(AtomicU8);

const WAITING: u8 = 0;
const HELD: u8 = 1;
/// Given up: whoever gets the locks now gives them back.
const CANCELLED: u8 = 2;
/// The worker has the same open files, and the locks are its own.
const HANDED_OVER: u8 = 3;

impl Fenced {
    /// Takes the locks now if nobody is in the way; else a thread goes on waiting for them.
    fn begin(files: Files) -> Fenced {
        let files = Arc::new(files);
        let held = try_all(&files);
        let state = Arc::new(State(AtomicU8::new(if held { HELD } else { WAITING })));
        if !held {
            let (files, state) = (Arc::clone(&files), Arc::clone(&state));
            let waiting = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || wait_for_all(&files, &state));
            if let Err(error) = waiting {
                eprintln!("ERROR: guard: no thread to wait for a lock: {error}");
            }
        }
        Fenced { files, state }
    }

    /// Whether nobody can commit any more.
    pub(super) fn is_held(&self) -> bool {
        self.state.0.load(Ordering::Acquire) == HELD
    }

    pub(super) fn wal(&self) -> Option<BorrowedFd<'_>> {
        self.files.wal.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    fn release(self) {
        if self.state.0.swap(CANCELLED, Ordering::AcqRel) == HELD {
            unlock_all(&self.files);
        }
    }

    fn hand_over(self) {
        self.state.0.store(HANDED_OVER, Ordering::Release);
    }
}

/// What is open, and what is fenced.
#[derive(Debug, Default)]
pub(super) struct Fence {
    open: BTreeMap<String, Files>,
    fenced: BTreeMap<String, Vec<Fenced>>,
    revoked: BTreeMap<String, ()>,
}

impl Fence {
    pub(super) fn hold(&mut self, db: String, files: Files) {
        self.open.insert(db, files);
    }

    /// Forgets a database; locks that are held on it are the worker's from now on, or go with the last descriptor.
    pub(super) fn let_go(&mut self, db: &str) {
        self.open.remove(db);
        for fenced in self.fenced.remove(db).into_iter().flatten() {
            fenced.hand_over();
        }
    }

    /// Takes all locks that are to be had; threads wait for the others.
    pub(super) fn close(&mut self) {
        for (db, files) in std::mem::take(&mut self.open) {
            self.fenced
                .entry(db)
                .or_default()
                .push(Fenced::begin(files));
        }
    }

    /// Gives the locks on a database back.
    pub(super) fn release(&mut self, db: &str) {
        for fenced in self.fenced.remove(db).into_iter().flatten() {
            fenced.release();
        }
    }

    /// Gives all locks back.
    pub(super) fn release_all(&mut self) {
        for fenced in std::mem::take(&mut self.fenced).into_values().flatten() {
            fenced.release();
        }
    }

    /// Forgets everything: the mount is gone.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.release_all();
    }

    /// The fenced databases.
    pub(super) fn fenced(&self) -> impl Iterator<Item = (&String, &Fenced)> {
        self.fenced
            .iter()
            .flat_map(|(db, all)| all.iter().map(move |fenced| (db, fenced)))
    }

    /// Those that somebody can still commit to, and whose log was not revoked yet.
    pub(super) fn still_open(&self) -> Vec<(String, Option<BorrowedFd<'_>>)> {
        self.fenced()
            .filter(|(db, fenced)| !fenced.is_held() && !self.revoked.contains_key(*db))
            .map(|(db, fenced)| (db.clone(), fenced.wal()))
            .collect()
    }

    /// The logs of all databases.
    pub(super) fn logs(&self) -> Vec<(String, Option<BorrowedFd<'_>>)> {
        let fenced = self.fenced();
        fenced
            .filter(|(_, fenced)| fenced.wal().is_some())
            .map(|(db, fenced)| (db.clone(), fenced.wal()))
            .collect()
    }

    /// The handles on a database's log fail from now on.
    pub(super) fn note_revoked(&mut self, db: String) {
        self.revoked.insert(db, ());
    }

    /// Whose logs were revoked; forgets that.
    pub(super) fn take_revoked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.revoked).into_keys().collect()
    }
}

/// The lock that keeps writers out, where there is a wal-index, and the one that keeps out connections that do not use it.
fn locks(files: &Files) -> impl Iterator<Item = (BorrowedFd<'_>, LockRange, libc::c_int)> {
    let write = files
        .shm
        .as_ref()
        .map(|shm| (shm.as_fd(), lock::WAL_WRITE, libc::F_WRLCK));
    let shared = (files.database.as_fd(), lock::SHARED, libc::F_RDLCK);
    write.into_iter().chain([shared])
}

fn try_all(files: &Files) -> bool {
    // All are tried, whatever becomes of the first.
    let refused = locks(files)
        .filter(|&(file, range, kind)| set_lock(file, libc::F_OFD_SETLK, range, kind).is_err());
    refused.count() == 0
}

fn unlock_all(files: &Files) {
    for (file, range, _) in locks(files) {
        if let Err(error) = set_lock(file, libc::F_OFD_SETLK, range, libc::F_UNLCK) {
            eprintln!("ERROR: guard: a lock cannot be given back: {error}");
        }
    }
}

/// In the kernel's queue, not by asking again: between two tries many commits would get through.
fn wait_for_all(files: &Files, state: &State) {
    for (file, range, kind) in locks(files) {
        loop {
            match set_lock(file, libc::F_OFD_SETLKW, range, kind) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file is bad: it was revoked.
                Err(_) => return,
            }
        }
    }
    let held = state
        .0
        .compare_exchange(WAITING, HELD, Ordering::AcqRel, Ordering::Acquire);
    if held == Err(CANCELLED) {
        unlock_all(files);
    }
}

fn set_lock(
    file: BorrowedFd<'_>,
    command: libc::c_int,
    range: LockRange,
    kind: libc::c_int,
) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start as libc::off_t,
        l_len: range.len as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open during the call, and the kernel reads one valid flock.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use super::*;

    struct Place(std::path::PathBuf);

    impl Place {
        fn new() -> Place {
            let name = format!("litefs-fence-{:016x}", rand::random::<u64>());
            let place = Place(std::env::temp_dir().join(name));
            std::fs::create_dir(&place.0).unwrap();
            place
        }

        fn open(&self, name: &str) -> OwnedFd {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(self.0.join(name)).unwrap().into()
        }

        fn files(&self) -> Files {
            Files {
                database: self.open("database"),
                shm: Some(self.open("shm")),
                wal: None,
            }
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn writes(shm: &OwnedFd) -> bool {
        let set = |kind| set_lock(shm.as_fd(), libc::F_OFD_SETLK, lock::WAL_WRITE, kind);
        set(libc::F_WRLCK).and_then(|()| set(libc::F_UNLCK)).is_ok()
    }

    fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn nobody_writes_until_the_locks_are_given_back() {
        let place = Place::new();
        let application = place.open("shm");
        let mut fence = Fence::default();
        fence.hold("db".into(), place.files());
        assert!(writes(&application));
        fence.close();
        assert!(fence.still_open().is_empty());
        assert!(!writes(&application));
        // The next worker opens the files anew: the old ones keep the locks until it may commit.
        fence.hold("db".into(), place.files());
        assert!(!writes(&application));
        fence.release("db");
        assert!(writes(&application));
    }

    fn set_write_lock(application: &OwnedFd, kind: libc::c_int) {
        let command = libc::F_OFD_SETLK;
        set_lock(application.as_fd(), command, lock::WAL_WRITE, kind).unwrap();
    }

    /// A fence that was closed while the application was writing.
    fn closed_within_a_transaction(place: &Place, application: &OwnedFd) -> Fence {
        set_write_lock(application, libc::F_WRLCK);
        let mut fence = Fence::default();
        fence.hold("db".into(), place.files());
        fence.close();
        fence
    }

    #[test]
    fn a_transaction_that_is_going_on_is_waited_for() {
        let place = Place::new();
        let application = place.open("shm");
        let mut fence = closed_within_a_transaction(&place, &application);
        assert_eq!(fence.still_open().len(), 1);
        set_write_lock(&application, libc::F_UNLCK);
        until(|| fence.still_open().is_empty());
        assert!(!writes(&application));
        fence.release("db");
        assert!(writes(&application));
    }

    #[test]
    fn locks_that_come_after_the_release_are_given_back() {
        let place = Place::new();
        let application = place.open("shm");
        let mut fence = closed_within_a_transaction(&place, &application);
        fence.release("db");
        set_write_lock(&application, libc::F_UNLCK);
        until(|| writes(&application));
    }

    #[test]
    fn a_worker_that_has_the_same_files_takes_the_locks_over() {
        let place = Place::new();
        let application = place.open("shm");
        let mut fence = Fence::default();
        let files = place.files();
        let of_worker = files.shm.as_ref().unwrap().try_clone().unwrap();
        fence.hold("db".into(), files);
        fence.close();
        fence.let_go("db");
        assert!(!writes(&application));
        drop(of_worker);
        assert!(writes(&application));
    }
}
