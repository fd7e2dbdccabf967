//! The store: all databases of a node.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ltx::Pos;
use parking_lot::{Mutex, RwLock};

use crate::database::Database;
use crate::dropped::{Dropped, DroppedDatabase};
use crate::env::Env;
use crate::error::{Error, IoContext};
use crate::events::{Event, Observer};
use crate::hooks::refusal;
use crate::import::Import;
use crate::incarnation::{self, ClusterId, Incarnation};
use crate::incoming::Incoming;
use crate::keeper::Keeper;
use crate::lag::PrimaryClock;
use crate::layout::{self, DataDir};
use crate::machine;
use crate::mount::{Completion, Mount, Refusal};
use crate::name::{DbName, FileKind};
use crate::own_thread::OwnThreads;
use crate::pool::Pool;
use crate::recovery;
use crate::role::{Epoch, Role};
use crate::status::Lag;
use crate::timer::Timer;
use crate::watch::Watcher;

/// At most so many threads work on databases at once.
const MAX_THREADS: usize = 64;

/// How the store is to work.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// LTX files, and what was put aside, are kept at least this long. Zero: for ever.
    pub retention: Duration,
    /// How often to look for what is too old. Zero: never.
    pub retention_interval: Duration,
    /// How long after one look at all pages the next one begins. Zero: never.
    pub scrub_interval: Duration,
    /// Whether pages in LTX files are compressed.
    pub compress: bool,
    /// The longest pause between two captures of a database under load.
    pub capture_pace: Duration,
    /// Another process has served the mount, which is still there: applications have databases open.
    pub live: bool,
    /// The lock on the directory, as that process had it.
    pub lock: Option<Arc<File>>,
}

impl StoreConfig {
    /// The defaults, for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig {
            data_dir: data_dir.into(),
            retention: Duration::from_secs(600),
            retention_interval: Duration::from_secs(60),
            scrub_interval: Duration::from_secs(24 * 3600),
            compress: true,
            capture_pace: Duration::from_millis(2),
            live: false,
            lock: None,
        }
    }
}

/// All databases of a node.
pub struct Store {
    env: Arc<Env>,
    instance_id: u64,
    cluster_id: RwLock<Option<ClusterId>>,
    databases: RwLock<BTreeMap<DbName, Arc<Database>>>,
    dropped: Mutex<Dropped>,
    clock: PrimaryClock,
    /// The machine crashed while the directory was in use.
    after_crash: bool,
    /// One creation or deletion at a time.
    changing: Mutex<()>,
    /// Locked, for as long as the directory is ours.
    lock: Arc<File>,
}

impl Store {
    /// Opens a data directory and recovers every database in it, for a node that begins in `role`. Nothing may be
    /// mounted yet.
    pub fn open(config: StoreConfig, role: Role) -> Result<Arc<Store>, Error> {
        let data = DataDir::new(&config.data_dir);
        let lock = match config.lock.clone() {
            Some(lock) => lock,
            None => Arc::new(claim(&data)?),
        };
        let live = config.live;
        let node_id = own_number(&data.path().join("nodeid"))?;
        let cluster_id = read_cluster_id(&data)?;
        let own = OwnThreads::default();
        let no_thread = |source| Error::Io {
            what: "start a thread".into(),
            source,
        };
        let timer = Timer::start().map_err(no_thread)?;
        let watcher = Watcher::start(timer.clone()).map_err(no_thread)?;
        let pool = Pool::new(MAX_THREADS, own.clone());
        let another_start = machine::is_another_start(&data)?;
        let was_primary = last_role(&data)?.as_deref() == Some(PRIMARY);
        let env = Env::new(config, node_id, own, pool, timer, watcher, was_primary);
        let env = Arc::new(env);
        env.replace_role(role.clone());
        env.set_admitting(role.is_primary());
        let mut store = Store {
            env,
            instance_id: rand::random(),
            cluster_id: RwLock::new(cluster_id),
            databases: RwLock::default(),
            dropped: Mutex::default(),
            clock: PrimaryClock::default(),
            after_crash: false,
            changing: Mutex::new(()),
            lock,
        };
        let ask_first = another_start && !store.known_replicas()?.is_empty();
        store.open_databases(ask_first)?;
        store.after_crash = another_start && store.env.unclean.load(Ordering::Acquire);
        let store = Arc::new(store);
        if !live {
            store.remove_super_journals()?;
        }
        note_role(&store.env.data, &role)?;
        crate::retention::start(&store);
        crate::scrub::start(&store);
        Ok(store)
    }

    /// `ask_first`: replicas may know better than a start what the content is.
    fn open_databases(&self, ask_first: bool) -> Result<(), Error> {
        let dbs = self.env.data.dbs();
        for entry in fs::read_dir(&dbs).during("list", &dbs)? {
            let entry = entry.during("list", &dbs)?;
            let text = entry.file_name().to_string_lossy().into_owned();
            let name = match DbName::new(&text) {
                Ok(name) if entry.path().is_dir() => name,
                _ => {
                    tracing::warn!(path = %entry.path().display(), "not the directory of a database, left alone");
                    continue;
                }
            };
            if self.env.config.live {
                let db = recovery::live::open(&self.env, &name)?;
                self.databases.write().insert(name, db);
                continue;
            }
            let db = recovery::open(&self.env, &name, None)?;
            let role = self.env.role();
            if !(ask_first && role.is_primary()) {
                db.call(move |core| core.settle(&role))??;
            }
            self.databases.write().insert(name, db);
        }
        Ok(())
    }

    /// All journals are played back: nothing refers to a super-journal any more.
    fn remove_super_journals(&self) -> Result<(), Error> {
        let dir = self.env.data.super_journals();
        for entry in fs::read_dir(&dir).during("list", &dir)? {
            layout::remove_if_exists(&entry.during("list", &dir)?.path())?;
        }
        Ok(())
    }

    /// Gives the store its mount: from here on databases can be live.
    pub fn attach_mount(&self, mount: Arc<dyn Mount>) {
        for db in self.all_databases() {
            let role = self.env.role();
            let settled = db.call(move |core| match core.settled || core.live {
                true => Ok(()),
                false => core.settle(&role),
            });
            if let Err(error) = settled.and_then(|settled| settled) {
                tracing::error!(database = %db.name(), error = error.chain(), "cannot be written, and is not replicated");
            }
        }
        self.env.attach_mount(mount);
        self.take_up_role();
    }

    /// Has `keeper` keep applications from committing when this process cannot. Before [`Store::attach_mount`].
    pub fn attach_keeper(&self, keeper: Arc<dyn Keeper>) {
        self.env.attach_keeper(keeper);
    }

    /// The mount answers: a store that was opened live finds out now what was committed.
    pub fn mount_answers(&self) {
        self.env.mount_answers();
    }

    /// The lock on the data directory: whoever has it open has the directory.
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// Whether applications can reach the databases.
    pub fn is_mounted(&self) -> bool {
        self.env.is_mounted()
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    /// The threads that are this store's clients of its mount.
    pub fn own_threads(&self) -> OwnThreads {
        self.env.own.clone()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &DataDir {
        &self.env.data
    }

    /// A number of this node, made with its data directory.
    pub fn node_id(&self) -> u64 {
        self.env.node_id
    }

    /// A number of this start of the node.
    pub fn instance_id(&self) -> u64 {
        self.instance_id
    }

    /// The machine crashed while a database was in use: the newest commits may be lost here, and not on a replica.
    pub fn is_after_machine_crash(&self) -> bool {
        self.after_crash
    }

    /// Replicas that were connected to this node in the last days, by node id.
    pub fn known_replicas(&self) -> Result<Vec<u64>, Error> {
        machine::known_replicas(&self.env.data)
    }

    /// Notes that a replica is connected. Durable when it returns; most calls do nothing.
    pub fn note_replica(&self, node_id: u64) -> Result<(), Error> {
        let _changing = self.changing.lock();
        machine::note_replica(&self.env.data, node_id)
    }

    /// The cluster that this node belongs to, once it belongs to one.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id.read().clone()
    }

    /// Joins a cluster, for good.
    pub fn adopt_cluster_id(&self, id: ClusterId) -> Result<(), Error> {
        let mut current = self.cluster_id.write();
        match &*current {
            Some(current) if *current == id => Ok(()),
            Some(current) => Err(Error::DataDirectory {
                path: self.env.data.path().to_owned(),
                reason: format!("belongs to cluster {current}, not to {id}"),
            }),
            None => {
                let path = self.env.data.path().join("clusterid");
                layout::write_durably(&path, format!("{id}\n").as_bytes())?;
                *current = Some(id);
                Ok(())
            }
        }
    }

    /// The databases that have a content, by name.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        self.databases
            .read()
            .values()
            .filter(|db| db.shared.state().page_count > 0)
            .cloned()
            .collect()
    }

    /// All databases, also those that were created and not written yet, by name.
    pub fn all_databases(&self) -> Vec<Arc<Database>> {
        self.databases.read().values().cloned().collect()
    }

    /// A database by its name.
    pub fn database(&self, name: &DbName) -> Option<Arc<Database>> {
        self.databases.read().get(name).cloned()
    }

    /// Databases that this process has dropped as a replica, on its primary's order, or deleted as the primary, since it
    /// last became the primary; at most 1000, of each name the last one. None that has come back since.
    pub fn dropped(&self) -> Vec<DroppedDatabase> {
        self.dropped.lock().list()
    }

    fn note_dropped(&self, db: &Database) {
        let dropped = DroppedDatabase {
            name: db.name().clone(),
            incarnation: db.incarnation(),
            txid: db.pos().txid,
        };
        self.dropped.lock().add(dropped);
    }

    /// What this node may do.
    pub fn role(&self) -> Role {
        self.env.role()
    }

    /// Changes what this node may do. A primary that may have applications within a commit is fenced first, see
    /// [`Store::fence`].
    pub fn set_role(&self, role: Role) -> Result<(), Error> {
        self.announce_role(role.clone())?;
        if role.is_primary() {
            self.admit();
        }
        Ok(())
    }

    /// Whether applications may commit here. A primary does not let them yet when its term begins, and not any more when
    /// it hands over.
    pub fn admits_writers(&self) -> bool {
        self.env.is_primary()
    }

    /// Becomes the primary of a term, for streams and displays; applications may commit after [`Store::admit`]. Noted
    /// durably: what this node has may be nowhere else from now on.
    pub fn begin_term(&self, epoch: Epoch) -> Result<(), Error> {
        self.announce_role(Role::Primary { epoch })
    }

    pub(crate) fn announce_role(&self, role: Role) -> Result<(), Error> {
        if role.is_primary() {
            // What it has is what there is.
            self.dropped.lock().clear();
        } else {
            self.env.set_admitting(false);
        }
        let before = self.env.replace_role(role.clone());
        if before != role {
            if before.word() != role.word() {
                self.note_role(&role)?;
                self.take_up_role();
            }
            self.env.notify(&Event::RoleChanged(role));
        }
        Ok(())
    }

    /// Not that this node is no primary any more while something is left to be captured of what it was: the next start has
    /// to look for that.
    fn note_role(&self, role: &Role) -> Result<(), Error> {
        let owes = |db: &Arc<Database>| db.shared.owes_capture.load(Ordering::Acquire);
        if !role.is_primary() && self.all_databases().iter().any(owes) {
            return Ok(());
        }
        note_role(&self.env.data, role)
    }

    pub(crate) fn take_up_role(&self) {
        for db in self.all_databases() {
            db.strand.post(crate::core::Core::take_up_role);
        }
    }

    /// Tells `observer` what happens, for as long as the caller keeps it.
    pub fn observe(&self, observer: &Arc<dyn Observer>) {
        self.env.observe(observer);
    }

    /// On a replica: the database of that name and incarnation. One that is not there is created; one of another
    /// incarnation is put aside first.
    pub fn replica_database(
        &self,
        name: &DbName,
        incarnation: Incarnation,
    ) -> Result<Arc<Database>, Error> {
        let changing = self.changing.lock();
        if let Some(db) = self.database(name) {
            if db.incarnation() == incarnation {
                return Ok(db);
            }
            self.remove_database(&db, db.reason_aside("replaced"))?;
            self.note_dropped(&db);
        }
        let db = recovery::open(&self.env, name, Some(incarnation))?;
        self.databases.write().insert(name.clone(), db.clone());
        self.dropped.lock().is_back(name, incarnation);
        drop(changing);
        Ok(db)
    }

    /// A place to collect an LTX file of that database and incarnation. What is here now stays until the file is
    /// taken in.
    pub fn incoming(&self, name: &DbName, incarnation: Incarnation) -> Incoming {
        match self.database(name) {
            Some(db) if db.incarnation() == incarnation => db.incoming(),
            _ => Incoming::new(self.env.data.path()),
        }
    }

    /// On a replica: verifies, stores and applies an LTX file. If the database here is another incarnation it is put
    /// aside, once the file is known to be whole.
    pub fn take_in(
        &self,
        name: &DbName,
        incarnation: Incarnation,
        mut incoming: Incoming,
    ) -> Result<Pos, Error> {
        let other = self
            .database(name)
            .is_some_and(|db| db.incarnation() != incarnation);
        if other {
            incoming.check(name)?;
        }
        self.replica_database(name, incarnation)?.apply(incoming)
    }

    /// On the primary: a database that an application, or an import, creates.
    pub fn create_database(&self, name: &DbName) -> Result<Arc<Database>, Error> {
        if !self.env.is_primary() {
            return Err(Error::NotPrimary);
        }
        let _changing = self.changing.lock();
        if let Some(db) = self.database(name) {
            return Ok(db);
        }
        let db = recovery::open(&self.env, name, Some(Incarnation::random()))?;
        self.databases.write().insert(name.clone(), db.clone());
        Ok(db)
    }

    /// CREATE of a database: like [`Store::create_database`], without waiting.
    pub fn create_database_then(
        self: &Arc<Self>,
        name: &DbName,
        done: Box<dyn FnOnce(Result<Arc<Database>, Refusal>) + Send>,
    ) {
        let (store, name) = (self.clone(), name.clone());
        self.env.pool.spawn(move || {
            done(
                store
                    .create_database(&name)
                    .map_err(|error| refusal(&error)),
            )
        });
    }

    /// On a replica: the primary has no such database any more. It goes to `aside/`.
    pub fn drop_database(&self, name: &DbName) -> Result<(), Error> {
        let _changing = self.changing.lock();
        match self.database(name) {
            Some(db) => {
                self.remove_database(&db, db.reason_aside("dropped"))?;
                self.note_dropped(&db);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// UNLINK of a database: like [`Store::unlink_database`], without waiting.
    pub fn unlink_database_then(self: &Arc<Self>, name: &DbName, done: Completion) {
        let (store, name) = (self.clone(), name.clone());
        self.env.pool.spawn(move || {
            done(
                store
                    .unlink_database(&name)
                    .map_err(|error| refusal(&error)),
            )
        });
    }

    /// On the primary: an application deleted the database. It goes to `aside/`; open handles go on with it.
    pub fn unlink_database(&self, name: &DbName) -> Result<(), Error> {
        if !self.env.is_primary() {
            return Err(Error::NotPrimary);
        }
        let _changing = self.changing.lock();
        match self.database(name) {
            Some(db) => {
                self.remove_database(&db, "deleted")?;
                self.note_dropped(&db);
                Ok(())
            }
            None => Err(Error::UnknownDatabase(name.clone())),
        }
    }

    fn remove_database(&self, db: &Arc<Database>, why: &'static str) -> Result<(), Error> {
        let name = db.name().clone();
        db.shared.close();
        db.call(move |core| core.close_files())?;
        self.databases.write().remove(&name);
        let aside = crate::aside::put_all_aside(&self.env, &name, &db.shared.dir, why)?;
        tracing::info!(database = %name, pos = %db.pos(), aside = %aside.display(), "database {why}");
        for kind in FileKind::ALL {
            self.env.forget_name(&name.file(kind));
        }
        self.env.forget_name(&format!("{name}-pos"));
        self.env.forget_name(&format!("{name}-lock"));
        self.env.notify(&Event::Dropped {
            name,
            incarnation: db.incarnation(),
        });
        Ok(())
    }

    /// Begins an import. On the primary only.
    pub fn begin_import(self: &Arc<Self>, name: &DbName) -> Result<Import, Error> {
        if !self.env.is_primary() {
            return Err(Error::NotPrimary);
        }
        Ok(match self.database(name) {
            Some(db) => Import::into_existing(db),
            None => Import::into_new(self.clone(), name.clone(), self.env.data.path()),
        })
    }

    /// A heartbeat of the primary: its clock, and whether everything it had then has been applied here.
    pub fn note_primary_clock(&self, primary_ms: i64, in_sync: bool) {
        self.clock.note(primary_ms, in_sync);
    }

    /// How often something went aside that no other node may have, and is still there.
    pub fn unreplicated_count(&self) -> Result<u64, Error> {
        crate::aside::unreplicated_count(&self.env)
    }

    /// How far this node is behind.
    pub fn lag(&self) -> Lag {
        if self.env.is_primary() {
            Lag::Primary
        } else {
            self.clock.lag()
        }
    }

    /// A clean stop: captures what is left and saves the tables, so that the next start need not read the databases.
    /// Nothing may be mounted any more, or be written by applications.
    pub fn close(&self) {
        for db in self.all_databases() {
            let closed = db.call(|core| core.close()).and_then(|result| result);
            if let Err(error) = closed {
                tracing::error!(database = %db.name(), error = error.chain(), "not closed cleanly");
            }
        }
        self.env.watcher.stop();
        self.env.timer.stop();
        self.env.pool.join(Duration::from_secs(5));
    }

    /// Captures everything that is committed now.
    pub fn drain(&self) {
        for db in self.all_databases() {
            if let Err(error) = db.drain() {
                tracing::error!(database = %db.name(), error = error.chain(), "the last commits are not captured");
            }
        }
    }

    /// Lets go of everything that was opened through the mount, so that it can be unmounted.
    pub fn leave_mount(&self) {
        for db in self.all_databases() {
            let left = db.call(|core| core.leave_mount()).and_then(|result| result);
            if let Err(error) = left {
                tracing::error!(database = %db.name(), error = error.chain(), "the last commits may not be captured");
            }
        }
    }
}

/// What the file `role` says for a primary.
const PRIMARY: &str = "primary";

fn last_role(data: &DataDir) -> Result<Option<String>, Error> {
    let path = data.role();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("read", &path),
    }
}

/// For the next start: what a primary has that its log has not may be known to nobody else.
fn note_role(data: &DataDir, role: &Role) -> Result<(), Error> {
    let word = role.word();
    if matches!(role, Role::None) || last_role(data)?.as_deref() == Some(word) {
        return Ok(());
    }
    layout::write_durably(&data.role(), format!("{word}\n").as_bytes())
}

/// Makes the directory ours, or says why it cannot be.
fn claim(data: &DataDir) -> Result<File, Error> {
    let path = data.path();
    let refuse = |reason: String| Error::DataDirectory {
        path: path.to_owned(),
        reason,
    };
    if path.exists() && !path.is_dir() {
        return Err(refuse("is not a directory".into()));
    }
    if !data.dbs().exists() {
        refuse_foreign(path)?;
    }
    for dir in [data.dbs(), data.super_journals()] {
        fs::create_dir_all(&dir).during("create", &dir)?;
    }
    let lock_path = path.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .during("open", &lock_path)?;
    match lock.try_lock() {
        Ok(()) => {
            remove_temporary_files(path)?;
            Ok(lock)
        }
        Err(fs::TryLockError::WouldBlock) => Err(refuse(
            "is in use by another litefs process; stop that one first".into(),
        )),
        Err(fs::TryLockError::Error(error)) => Err(error).during("lock", &lock_path),
    }
}

/// Imports and snapshots that were being received when the last process died.
fn remove_temporary_files(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).during("list", dir)? {
        let path = entry.during("list", dir)?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            layout::remove_if_exists(&path)?;
        }
    }
    Ok(())
}

/// A directory without `dbs` must be empty: anything else is somebody else's.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).during("list", path),
    };
    for entry in entries {
        let name = entry.during("list", path)?.file_name();
        // The root of a file system of its own.
        if name != "lost+found" {
            let reason = format!(
                "is not one of litefs and not empty (it has {})",
                name.display()
            );
            return Err(Error::DataDirectory {
                path: path.to_owned(),
                reason,
            });
        }
    }
    Ok(())
}

fn own_number(path: &Path) -> Result<u64, Error> {
    if let Some(number) = incarnation::read_hex(path)? {
        return Ok(number);
    }
    let number = rand::random();
    incarnation::write_hex(path, number)?;
    Ok(number)
}

fn read_cluster_id(data: &DataDir) -> Result<Option<ClusterId>, Error> {
    let path = data.path().join("clusterid");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(Error::BadFile {
                path,
                reason: format!("{error}"),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("read", &path),
    }
}
