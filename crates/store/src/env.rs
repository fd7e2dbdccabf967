//! What all databases of a store share.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::error::{Error, IoContext};
use crate::events::{Event, Observer};
use crate::keeper::Keeper;
use crate::layout::{DataDir, DatabaseDir};
use crate::mount::{Mount, OpenHow};
use crate::name::{DbName, FileKind};
use crate::own_thread::OwnThreads;
use crate::pool::Pool;
use crate::role::{Epoch, Role};
use crate::store::StoreConfig;
use crate::timer::Timer;
use crate::watch::Watcher;

/// Threads, mount, role and observers of one store.
pub(crate) struct Env {
    pub(crate) config: StoreConfig,
    pub(crate) data: DataDir,
    pub(crate) node_id: u64,
    pub(crate) own: OwnThreads,
    pub(crate) pool: Pool,
    pub(crate) timer: Timer,
    pub(crate) watcher: Watcher,
    /// The last role of the node before this start was that of the primary.
    pub(crate) was_primary: bool,
    /// Some database was not stopped cleanly.
    pub(crate) unclean: AtomicBool,
    mount: OnceLock<Arc<dyn Mount>>,
    keeper: OnceLock<Arc<dyn Keeper>>,
    /// The mount answers. (One that was there before this process does so later than it can be opened.)
    answers: Mutex<bool>,
    answering: Condvar,
    role: RwLock<Role>,
    /// On the primary: whether applications may commit.
    admitting: AtomicBool,
    /// The last term in which this node was the primary.
    term: AtomicU64,
    observers: Mutex<Vec<Weak<dyn Observer>>>,
}

impl Env {
    pub(crate) fn new(
        config: StoreConfig,
        node_id: u64,
        own: OwnThreads,
        pool: Pool,
        timer: Timer,
        watcher: Watcher,
        was_primary: bool,
    ) -> Env {
        let data = DataDir::new(&config.data_dir);
        let live = config.live;
        Env {
            config,
            data,
            node_id,
            own,
            pool,
            timer,
            watcher,
            was_primary,
            unclean: AtomicBool::new(false),
            mount: OnceLock::new(),
            keeper: OnceLock::new(),
            answers: Mutex::new(!live),
            answering: Condvar::new(),
            role: RwLock::new(Role::None),
            admitting: AtomicBool::new(false),
            term: AtomicU64::new(0),
            observers: Mutex::new(Vec::new()),
        }
    }

    /// How pages in LTX files are written.
    pub(crate) fn compression(&self) -> ltx::Compression {
        if self.config.compress {
            ltx::Compression::Lz4
        } else {
            ltx::Compression::None
        }
    }

    /// The mount. An error before it is there: nothing can be done with live databases then.
    pub(crate) fn mount(&self) -> Result<&Arc<dyn Mount>, Error> {
        self.mount.get().ok_or_else(|| Error::Io {
            what: "open a file through the mount".into(),
            source: std::io::Error::new(std::io::ErrorKind::NotConnected, "nothing is mounted yet"),
        })
    }

    /// Opens a file of a live database, as one of its applications would.
    pub(crate) fn open_live(
        &self,
        db: &DbName,
        dir: &DatabaseDir,
        kind: FileKind,
        how: OpenHow,
    ) -> Result<File, Error> {
        self.mount()?
            .open(db, kind, how)
            .during("open through the mount", &dir.file(kind))
    }

    /// Does something on a thread of the pool, after a time.
    pub(crate) fn later(&self, after: Duration, job: impl FnOnce() + Send + 'static) {
        let pool = self.pool.clone();
        self.timer.after(after, move || pool.spawn(job));
    }

    /// Whether applications can have files open.
    pub(crate) fn is_mounted(&self) -> bool {
        self.mount.get().is_some()
    }

    pub(crate) fn attach_mount(&self, mount: Arc<dyn Mount>) {
        if self.mount.set(mount).is_err() {
            tracing::error!("the store has a mount already; the second one is not used");
        }
    }

    /// The mount answers from now on.
    pub(crate) fn mount_answers(&self) {
        *self.answers.lock() = true;
        self.answering.notify_all();
    }

    /// Waits for that. Whoever unmaps a file of the mount holds up every other thread that needs memory until the kernel
    /// has an answer to what is written then: before there are threads to give it there would never be any.
    pub(crate) fn wait_for_answers(&self) {
        let mut answers = self.answers.lock();
        while !*answers {
            self.answering.wait(&mut answers);
        }
    }

    pub(crate) fn attach_keeper(&self, keeper: Arc<dyn Keeper>) {
        if self.keeper.set(keeper).is_err() {
            tracing::error!("the store has a keeper already; the second one is not used");
        }
    }

    /// Who keeps applications out when this process dies, if there is somebody.
    pub(crate) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.keeper.get().cloned()
    }

    /// What the keeper has locked since an earlier process died.
    pub(crate) fn take_back(&self, db: &DbName) -> Option<(File, Option<File>)> {
        self.keeper.get()?.take_back(db)
    }

    /// Makes the kernel forget what it knows of a name.
    pub(crate) fn forget_name(&self, file_name: &str) {
        if let Some(mount) = self.mount.get() {
            mount.forget_name(file_name);
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role.read().clone()
    }

    /// Whether applications may commit here. Every commit point asks this.
    pub(crate) fn is_primary(&self) -> bool {
        self.admitting.load(Ordering::Acquire)
    }

    /// Lets applications commit, or not. Only while the role is that of the primary.
    pub(crate) fn set_admitting(&self, admitting: bool) {
        self.admitting.store(admitting, Ordering::Release);
    }

    /// The term of what is committed here.
    pub(crate) fn term(&self) -> Epoch {
        Epoch::new(self.term.load(Ordering::Acquire))
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.role.read().is_replica()
    }

    /// Sets the role; returns the one before.
    pub(crate) fn replace_role(&self, role: Role) -> Role {
        if let Role::Primary { epoch } = role {
            self.term.store(epoch.get(), Ordering::Release);
        }
        std::mem::replace(&mut self.role.write(), role)
    }

    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>) {
        self.observers.lock().push(Arc::downgrade(observer));
    }

    /// Tells all observers.
    pub(crate) fn notify(&self, event: &Event) {
        let mut alive = Vec::new();
        self.observers
            .lock()
            .retain(|observer| match observer.upgrade() {
                Some(observer) => {
                    alive.push(observer);
                    true
                }
                None => false,
            });
        // Outside of the lock: an observer may be dropped here.
        for observer in alive {
            observer.event(event);
        }
    }
}
