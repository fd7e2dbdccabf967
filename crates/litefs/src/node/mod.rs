//! A node: its parts, and the order in which they start and stop.

mod api;
mod epoch;
mod keeper;
mod listener;
mod running;

use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lease::Standing;
use replication::{FollowConfig, FollowState, Follower, TailWindow};
use store::{ClusterId, Epoch, PrimaryInfo, Role, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::guard::{Inherited, Link};
use crate::host;

pub(crate) use running::Running;

/// How long what is being applied, and requests that are being answered, may take to end at a stop.
const END: Duration = Duration::from_secs(5);
/// After a crash of the machine: how long a primary waits, before applications may write, for replicas that may have
/// more than it.
const TAILS: Duration = Duration::from_secs(10);
/// The first wait before a replica tries again to reach its primary. It doubles up to `lease.reconnect-delay`.
const RECONNECT_MIN: Duration = Duration::from_millis(50);

/// What the command line has to say about the mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mounting {
    /// Whether the mount of a dead process is cleared.
    pub(crate) clear_stale: bool,
    /// Whether every FUSE request is logged.
    pub(crate) debug: bool,
}

/// A node, as far as it has come up. It is to be stopped also when its start went wrong.
pub(crate) struct Node {
    config: Config,
    mounting: Mounting,
    guard: Link,
    /// What a worker before this one has left.
    inherited: Inherited,
    /// Ends the streams, the following and the API.
    cancel: CancellationToken,
    store: Option<Arc<Store>>,
    mount: Option<fuse::Mount>,
    /// Resolves when somebody else takes the mount down.
    unmounted: Option<oneshot::Receiver<()>>,
    follower: Option<(JoinHandle<()>, watch::Receiver<FollowState>)>,
    api: Option<JoinHandle<std::io::Result<()>>>,
}

impl Node {
    /// A node of which nothing is up.
    pub(crate) fn new(
        config: Config,
        mounting: Mounting,
        guard: Link,
        inherited: Inherited,
    ) -> Node {
        let cancel = CancellationToken::new();
        Node {
            config,
            mounting,
            guard,
            inherited,
            cancel,
            store: None,
            mount: None,
            unmounted: None,
            follower: None,
            api: None,
        }
    }

    /// Brings the parts up, one after the other; a replica is up once it is in sync with its primary, unless
    /// `skip-sync` is set. It stops between two parts, without an error, if `shutdown` is cancelled.
    pub(crate) async fn start(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        // The port first: another node that is running here is noticed before anything is touched.
        let listener = match self.inherited.port.take() {
            Some(port) => listener::take_over(port)?,
            None => listener::bind(&self.config.http.addr).await?,
        };
        self.guard
            .keep_port(listener.as_fd())
            .context("have the port kept")?;
        let standing = self.standing()?;
        let store = self.open_store(&standing).await?;
        self.store = Some(Arc::clone(&store));
        self.guard
            .keep_lock(store.lock())
            .context("have the lock of the data directory kept")?;
        store.attach_keeper(Arc::new(keeper::GuardKeeper::new(
            self.guard.clone(),
            std::mem::take(&mut self.inherited.locked),
            std::mem::take(&mut self.inherited.exclusive),
        )));
        if shutdown.is_cancelled() {
            return Ok(());
        }
        self.found(&store, &standing).await?;
        let requests = Arc::new(OnceLock::new());
        let mut listener = Some(listener);
        if store.role().is_primary() && store.is_after_machine_crash() {
            self.take_tails(&mut listener, &store, &requests, shutdown)
                .await?;
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
        let mount = self.mount(&store).await?;
        self.guard
            .mounted(mount.dir())
            .context("tell the guard of the mount")?;
        // It is set once.
        let _ = requests.set(mount.request_counter());
        let (gone, unmounted) = oneshot::channel();
        // Nobody listens while the node stops.
        mount.when_ended(Box::new(move || {
            let _ = gone.send(());
        }));
        self.unmounted = Some(unmounted);
        self.mount = Some(mount);
        if shutdown.is_cancelled() {
            return Ok(());
        }
        if let Standing::Replica {
            hostname,
            advertise_url,
        } = standing
        {
            self.follow(
                &store,
                PrimaryInfo {
                    hostname,
                    advertise_url,
                },
            );
        }
        if let Some(listener) = listener {
            self.serve(listener, &store, &requests, TailWindow::default());
        }
        tokio::select! {
            synced = self.in_sync() => synced,
            () = shutdown.cancelled() => Ok(()),
        }
    }

    fn serve<F>(
        &mut self,
        listener: TcpListener,
        store: &Arc<Store>,
        requests: &Arc<OnceLock<F>>,
        tails: TailWindow,
    ) where
        F: Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    {
        let requests = Arc::clone(requests);
        let parts = api::Parts {
            store: Arc::clone(store),
            following: self.follower.as_ref().map(|(_, state)| state.clone()),
            fuse_requests: Arc::new(move || requests.get().map_or_else(Vec::new, |count| count())),
            tails,
        };
        self.api = Some(api::serve(
            listener,
            &self.config,
            parts,
            self.cancel.clone(),
        ));
    }

    /// The machine crashed, and with it may have gone what SQLite had not synced: replicas may have it. Serves the
    /// stream, before anything is mounted, until all that are known were there.
    async fn take_tails<F>(
        &mut self,
        listener: &mut Option<TcpListener>,
        store: &Arc<Store>,
        requests: &Arc<OnceLock<F>>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()>
    where
        F: Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    {
        let known = store.known_replicas()?;
        let Some(listener) = listener.take_if(|_| !known.is_empty()) else {
            return Ok(());
        };
        tracing::warn!(
            replicas = known.len(),
            "the machine crashed: waiting up to {} s for what replicas have and this node may have lost",
            TAILS.as_secs()
        );
        let window = TailWindow::default();
        window.open(known);
        self.serve(listener, store, requests, window.clone());
        let missing = tokio::select! {
            missing = window.close_after(TAILS) => missing,
            () = shutdown.cancelled() => window.close_after(Duration::ZERO).await,
        };
        if missing > 0 {
            tracing::warn!(
                replicas = missing,
                "did not come; what only they have will be put aside there"
            );
        }
        Ok(())
    }

    /// What this node is: the lease knows, and the last epoch is kept beside the databases.
    fn standing(&self) -> anyhow::Result<Standing> {
        let last = epoch::read(&self.config.data.dir)?;
        Ok(self.config.lease.lease.stand(last)?)
    }

    async fn open_store(&self, standing: &Standing) -> anyhow::Result<Arc<Store>> {
        let data = &self.config.data;
        let config = StoreConfig {
            retention: data.retention,
            retention_interval: data.retention_interval,
            scrub_interval: data.scrub_interval,
            compress: data.compress,
            live: self.inherited.session.is_some(),
            lock: self
                .inherited
                .lock
                .as_ref()
                .map(|lock| lock.try_clone().map(Arc::new))
                .transpose()
                .context("the lock of the data directory")?,
            ..StoreConfig::new(&data.dir)
        };
        let role = match *standing {
            Standing::Primary { epoch } => Role::Primary {
                epoch: Epoch::new(epoch),
            },
            Standing::Replica { .. } => Role::Replica { primary: None },
        };
        tracing::info!(dir = %data.dir.display(), role = role.word(), "opening the data directory");
        blocking(move || Ok(Store::open(config, role)?)).await
    }

    /// What a primary makes durable before the first commit: its epoch, and the name of a new cluster.
    async fn found(&self, store: &Arc<Store>, standing: &Standing) -> anyhow::Result<()> {
        let &Standing::Primary { epoch } = standing else {
            return Ok(());
        };
        let (store, data) = (Arc::clone(store), self.config.data.dir.clone());
        blocking(move || {
            epoch::write(&data, epoch)?;
            if store.cluster_id().is_none() {
                store.adopt_cluster_id(ClusterId::random())?;
            }
            Ok(())
        })
        .await
    }

    async fn mount(&mut self, store: &Arc<Store>) -> anyhow::Result<fuse::Mount> {
        let config = fuse::MountConfig {
            dir: self.config.fuse.dir.clone(),
            allow_other: self.config.fuse.allow_other,
            passthrough: self.config.fuse.passthrough,
            clear_stale: self.mounting.clear_stale,
            debug: self.mounting.debug,
        };
        let store = Arc::clone(store);
        let earlier = self
            .inherited
            .session
            .take()
            .map(|(device, session)| fuse::Earlier {
                device,
                session,
                revoked: std::mem::take(&mut self.inherited.revoked),
            });
        let guard = self.guard.clone();
        let mount = blocking(move || {
            let keep: fuse::Keep =
                Box::new(move |device, session| guard.keep_session(device, session));
            Ok(fuse::mount(store, config, earlier, keep)?)
        })
        .await?;
        tracing::info!(dir = %self.config.fuse.dir.display(), passthrough = mount.passthrough(), "mounted");
        Ok(mount)
    }

    fn follow(&mut self, store: &Arc<Store>, primary: PrimaryInfo) {
        tracing::debug!(url = primary.advertise_url, "the lease names the primary");
        let delay = self.config.lease.reconnect_delay;
        let config = FollowConfig {
            filter: self.config.lease.databases.clone(),
            reconnect_min: RECONNECT_MIN.min(delay),
            reconnect_max: delay,
            ..FollowConfig::new(primary, host::hostname())
        };
        let follower = Follower::new(Arc::clone(store), config);
        let state = follower.state();
        self.follower = Some((tokio::spawn(follower.run(self.cancel.clone())), state));
    }

    /// Waits until a replica has all that its primary had when it connected.
    async fn in_sync(&self) -> anyhow::Result<()> {
        let Some((_, state)) = self.follower.as_ref().filter(|_| !self.config.skip_sync) else {
            return Ok(());
        };
        let mut state = state.clone();
        let synced = state
            .wait_for(|state| matches!(state, FollowState::InSync))
            .await;
        synced.map(drop).context("following the primary ended")
    }

    /// Tells the guard, and whoever wants to replace this process, that the node is up.
    pub(crate) fn announce(&self) -> anyhow::Result<()> {
        let resumable = self.mount.as_ref().is_some_and(fuse::Mount::can_be_resumed);
        Running::this(resumable)?.write(&self.config.data.dir)?;
        self.guard
            .ready()
            .context("tell the guard that the node is up")
    }

    /// What there is to say once it is up, in one line.
    pub(crate) fn introduction(&self) -> String {
        let role = self
            .store
            .as_ref()
            .map_or("none", |store| store.role().word());
        format!(
            "{role} with its databases in {}, API at {}",
            self.config.fuse.dir.display(),
            self.config.http.addr
        )
    }

    /// Waits until a part ends that should not.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let following = async {
            match &mut self.follower {
                Some((follower, _)) => follower.await.err(),
                None => std::future::pending().await,
            }
        };
        let serving = async {
            match &mut self.api {
                Some(api) => api.await.map_or_else(
                    |panic| Some(panic.to_string()),
                    |end| Some(end.err()?.to_string()),
                ),
                None => std::future::pending().await,
            }
        };
        let unmounted = async {
            if let Some(unmounted) = &mut self.unmounted
                && unmounted.await.is_ok()
            {
                return;
            }
            std::future::pending().await
        };
        let reason =
            |reason: Option<String>| reason.unwrap_or_else(|| "for no known reason".to_owned());
        tokio::select! {
            end = following => anyhow!("following the primary ended: {}", reason(end.map(|end| end.to_string()))),
            () = unmounted => anyhow!("somebody took the mount down"),
            end = serving => anyhow!("the API ended: {}", reason(end)),
        }
    }

    /// Takes down what is up: the streams, the API, the mount, the databases. All of it is tried; the error is
    /// the first.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.cancel.cancel();
        if let Some((follower, _)) = self.follower.take() {
            end("following the primary", follower).await;
        }
        if let Some(api) = self.api.take() {
            end("the API", api).await;
        }
        // What the guard has open would keep the mount busy.
        self.guard.release_all();
        let unmounted = match self.mount.take() {
            Some(mount) => {
                let unmounted = blocking(move || Ok(mount.unmount()?)).await;
                self.guard.unmounted();
                unmounted
            }
            // One that was there before this process, and that it did not come to, is the guard's.
            None => Ok(()),
        };
        let closed = match self.store.take() {
            Some(store) => blocking(move || {
                store.close();
                Ok(())
            }),
            None => return unmounted,
        };
        unmounted.and(closed.await)
    }
}

impl Node {
    /// Makes room for a successor: everything is captured, the streams and the API end, and the mount stays for the
    /// process that comes next.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        self.cancel.cancel();
        if let Some((follower, _)) = self.follower.take() {
            end("following the primary", follower).await;
        }
        if let Some(api) = self.api.take() {
            end("the API", api).await;
        }
        if let Some(store) = self.store.take() {
            blocking(move || {
                store.drain();
                Ok(())
            })
            .await?;
        }
        // What is still asked of this process is asked again of the next one.
        std::mem::forget(self.mount.take());
        self.guard.leaving().context("tell the guard")
    }
}

/// Waits for a task that was told to end, but not for ever.
async fn end<T>(what: &str, mut task: JoinHandle<T>) {
    if task.is_finished() {
        return;
    }
    if timeout(END, &mut task).await.is_err() {
        tracing::warn!(
            "{what} takes longer than {} s to end, going on without it",
            END.as_secs()
        );
        task.abort();
    }
}

/// Runs what may wait on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a part of the node broke down")?
}
