//! A mount, from its making to its end.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use store::Store;

use crate::client::MountClient;
use crate::device;
use crate::error::Error;
use crate::filesystem::{Adapter, Ended};
use crate::requests::Requests;
use crate::resume::log_names;
use crate::session;
use crate::session_table::SessionTable;
use crate::tree::Tree;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where. Made if it does not exist.
    pub dir: PathBuf,
    /// Whether other users than the one who runs the daemon may use it.
    pub allow_other: bool,
    /// Whether the kernel may read and write backing files by itself. If it cannot (kernel before 6.9, no
    /// CAP_SYS_ADMIN), files are served through the page cache.
    pub passthrough: bool,
    /// Whether the mount of a process that died is cleared.
    pub clear_stale: bool,
    /// Whether to log every request.
    pub debug: bool,
}

/// Hands what another process needs to go on with the mount to whoever keeps it: the FUSE device, and what is known of
/// inodes and handles.
pub type Keep = Box<dyn FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> std::io::Result<()> + Send>;

/// What another process has left that was serving the mount.
#[derive(Debug)]
pub struct Earlier {
    /// The FUSE device.
    pub device: OwnedFd,
    /// What was known of inodes and handles.
    pub session: OwnedFd,
    /// Databases whose log was taken away from whoever had it open.
    pub revoked: Vec<String>,
}

/// How long applications get to close their files when the mount is to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to try meanwhile; the kernel does not tell when the last file is closed.
const RETRY: Duration = Duration::from_millis(100);

/// A live mount. Dropped without [`Mount::unmount`] it is detached.
pub struct Mount {
    dir: PathBuf,
    store: Arc<Store>,
    tree: Arc<Tree>,
    requests: Arc<Requests>,
    ended: Ended,
    session: Option<BackgroundSession>,
}

/// Mounts `store`'s databases, and makes the mount known to the store. With `earlier` the mount is there already, and
/// applications may have files open; the store must have been opened for that.
///
/// `keep` is called before anybody can use a new mount; not if no other process could go on with it.
pub fn mount(
    store: Arc<Store>,
    config: MountConfig,
    earlier: Option<Earlier>,
    keep: Keep,
) -> Result<Mount, Error> {
    let resumed = earlier.is_some();
    let dir = match resumed {
        true => absolute(&config.dir)?,
        false => device::prepare(&config.dir, config.clear_stale)?,
    };
    let passthrough = config.passthrough && may_pass_through();
    let fault = |source| Error::Session {
        dir: dir.clone(),
        source,
    };
    let (device, session, revoked) = match earlier {
        Some(earlier) => {
            let session = SessionTable::open(earlier.session).map_err(fault)?;
            (Some(earlier.device), session, earlier.revoked)
        }
        None if nix::unistd::geteuid().is_root() => {
            let device = device::open()?;
            device::mount(&device, &dir, config.allow_other)?;
            let session = SessionTable::create().map_err(fault)?;
            (Some(device), session, Vec::new())
        }
        None => (None, SessionTable::create().map_err(fault)?, Vec::new()),
    };
    let tree = Arc::new(Tree::new(store.clone(), passthrough, session, device));
    let requests = Arc::new(Requests::default());
    let ended = Ended::default();
    let adapter = Adapter::new(
        tree.clone(),
        requests.clone(),
        passthrough,
        config.debug,
        ended.clone(),
    );
    let session = start_session(adapter, &tree, &dir, &config, resumed)?;
    if let Some(device) = &tree.device
        && !resumed
        && session::can_be_resumed(&tree.session)
    {
        keep(device.as_fd(), tree.session.as_fd()).map_err(fault)?;
    }
    let failed = |source| Error::Session {
        dir: dir.clone(),
        source,
    };
    let client =
        MountClient::start(dir.clone(), tree.clone(), session.notifier()).map_err(failed)?;
    let mut mount = Mount {
        dir: dir.clone(),
        store: store.clone(),
        tree,
        requests,
        ended,
        session: None,
    };
    if resumed {
        mount.tree.restore(&log_names(&revoked));
    }
    // Before the first request: an application must not be the first to open a database on a replica.
    store.attach_mount(Arc::new(client));
    mount.session = Some(session.spawn().map_err(failed)?);
    if resumed {
        // Answered by one of the threads that are started now.
        let _ = nix::sys::statvfs::statvfs(&dir);
        store.mount_answers();
    }
    Ok(mount)
}

/// The kernel takes backing files only from who has CAP_SYS_ADMIN.
fn may_pass_through() -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let may = effective.is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 1);
    if !may {
        tracing::warn!(
            "without CAP_SYS_ADMIN files are served through the page cache, which is slower"
        );
    }
    may
}

/// The path as the kernel knows it, without a question to the mount, which nobody answers yet.
fn absolute(dir: &Path) -> Result<PathBuf, Error> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, dir.file_name()) {
        (Ok(parent), Some(name)) => Ok(parent.join(name)),
        _ => Ok(dir.to_owned()),
    }
}

fn start_session(
    adapter: Adapter,
    tree: &Tree,
    dir: &Path,
    config: &MountConfig,
    resumed: bool,
) -> Result<Session<Adapter>, Error> {
    let mut session = Config::default();
    // Enough that some are free to serve the store's own requests while others hold a reply.
    session.n_threads = Some(
        std::thread::available_parallelism()
            .map_or(4, usize::from)
            .clamp(2, 12)
            + 4,
    );
    session.acl = if config.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    if let Some(device) = &tree.device {
        let started = session::start(adapter, device, &tree.session, resumed, session);
        return started.map_err(|source| {
            if !resumed {
                // Nothing serves it: better no mount than a dead one.
                let _ = umount2(dir, MntFlags::MNT_DETACH);
            }
            Error::Session {
                dir: dir.to_owned(),
                source,
            }
        });
    }
    session.mount_options = vec![
        MountOption::FSName(device::SOURCE.into()),
        MountOption::Subtype("litefs".into()),
        MountOption::DefaultPermissions,
    ];
    Session::new(adapter, dir, &session).map_err(|source| Error::Mount {
        dir: dir.to_owned(),
        hint: "without root it needs fusermount3 (Debian: fuse3), and user_allow_other in /etc/fuse.conf for allow-other",
        source,
    })
}

impl Mount {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the kernel reads and writes backing files by itself.
    pub fn passthrough(&self) -> bool {
        self.tree
            .passthrough
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether another process could go on with it.
    pub fn can_be_resumed(&self) -> bool {
        self.tree.device.is_some() && session::can_be_resumed(&self.tree.session)
    }

    /// Calls `then` when the mount ends, whoever ended it; not after [`Mount::unmount`] has begun.
    pub fn when_ended(&self, then: Box<dyn FnOnce() + Send>) {
        *self.ended.lock() = Some(then);
    }

    /// Requests since the mount, by kind.
    pub fn requests(&self) -> Vec<(&'static str, u64)> {
        self.requests.totals()
    }

    /// The same, for whoever outlives this value.
    pub fn request_counter(&self) -> impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + use<> {
        let requests = self.requests.clone();
        move || requests.totals()
    }

    /// Ends the mount. Waits a while for applications to close their files; then their handles are revoked and the
    /// mount is detached.
    pub fn unmount(mut self) -> Result<(), Error> {
        *self.ended.lock() = None;
        // On the primary what applications commit until they close their files is captured as ever; what was opened
        // for that closes with them.
        if !self.store.role().is_primary() {
            self.store.leave_mount();
        }
        let fault = |errno: Errno| Error::Unmount {
            dir: self.dir.clone(),
            source: errno.into(),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut said = false;
        loop {
            match umount2(&self.dir, MntFlags::empty()) {
                Ok(()) => break,
                // Ended from outside, or by fusermount3.
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(Errno::EPERM) => {
                    // Mounted by fusermount3: the library unmounts the same way.
                    return self.end_session();
                }
                Err(Errno::EBUSY) if Instant::now() < deadline => {
                    if !said {
                        tracing::info!(dir = %self.dir.display(), "waiting for applications to close their files");
                        said = true;
                    }
                    std::thread::sleep(RETRY);
                }
                Err(Errno::EBUSY) => {
                    self.store.leave_mount();
                    self.revoke();
                    umount2(&self.dir, MntFlags::MNT_DETACH).map_err(fault)?;
                    // Their handles keep the session alive; it ends with the process.
                    std::mem::forget(self.session.take());
                    return Ok(());
                }
                Err(errno) => return Err(fault(errno)),
            }
        }
        self.end_session()
    }

    /// Nobody shall commit to a database that is not replicated any more.
    fn revoke(&self) {
        let open = self.tree.open_names();
        tracing::warn!(dir = %self.dir.display(), ?open,
            "applications still have files open: their handles fail from now on");
        let failed = crate::revoke::revoke_open_files(&self.tree, &self.dir);
        if !failed.is_empty() {
            tracing::error!(files = ?failed, "could not be taken away: what is committed there now is not replicated before the next start");
        }
    }

    fn end_session(&mut self) -> Result<(), Error> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        match session.umount_and_join() {
            // The kernel takes the connection down while workers read from it: besides ENODEV, which the library takes
            // for the end, a request that was being read then is answered with this. The mount is gone either way.
            Err(source) if source.raw_os_error() == Some(libc::ECONNABORTED) => {
                tracing::debug!(dir = %self.dir.display(), "the session ended within a request");
                Ok(())
            }
            ended => ended.map_err(|source| Error::Session {
                dir: self.dir.clone(),
                source,
            }),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.session.take().map(std::mem::forget).is_some() {
            // On the way out after an error: leave no dead mount.
            let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        }
    }
}
