//! A node: its parts, and the order in which they start and stop.
//!
//! The store and the API are up first. A [`Member`] of the cluster then decides what the node is, and [`local::Local`]
//! becomes that; the first time it mounts.

mod api;
mod control;
mod epochs;
mod following;
mod keeper;
mod listener;
mod local;
mod running;

use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use lease::{
    BootClock, ConsulConfig, ConsulEnvironment, ConsulLease, Identity, Leaser, Member,
    MemberConfig, MemberHandle,
};
use replication::TailWindow;
use store::{ClusterId, Role, Store, StoreConfig};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, LeaseStore};
use crate::guard::{Inherited, Link};
use crate::host;
use epochs::Epochs;
use local::{Local, Shown};

pub(crate) use running::Running;

/// How long what is being applied, and requests that are being answered, may take to end at a stop.
const END: Duration = Duration::from_secs(5);

/// How long the member of the cluster may take for that: handing over, or giving the lease up.
const LEAVE: Duration = Duration::from_secs(15);

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
    config: Arc<Config>,
    mounting: Mounting,
    guard: Link,
    /// What a worker before this one has left.
    inherited: Inherited,
    /// Ends the API and its streams.
    cancel: CancellationToken,
    /// Ends the member.
    leave: CancellationToken,
    store: Option<Arc<Store>>,
    local: Option<Arc<Local>>,
    shown: Shown,
    member: Option<(JoinHandle<()>, MemberHandle)>,
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
        Node {
            config: Arc::new(config),
            mounting,
            guard,
            inherited,
            cancel: CancellationToken::new(),
            leave: CancellationToken::new(),
            store: None,
            local: None,
            shown: Shown::default(),
            member: None,
            api: None,
        }
    }

    /// Brings the parts up, and waits until the node can be used: as the primary, or as a replica that is in sync with
    /// its primary, unless `skip-sync` is set. It stops between two parts, without an error, if `shutdown` is cancelled.
    pub(crate) async fn start(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        // The port first: another node that is running here is noticed before anything is touched.
        let listener = match self.inherited.port.take() {
            Some(port) => listener::take_over(port)?,
            None => listener::bind(&self.config.http.addr).await?,
        };
        self.guard
            .keep_port(listener.as_fd())
            .context("have the port kept")?;
        let leaser = self.leaser()?;
        let store = self.open_store().await?;
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
        let epochs = Arc::new(Epochs::open(&self.config.data.dir)?);
        let resumed = self.inherited.session.is_some();
        let (local, member) = self.join(listener, leaser, &store, epochs);
        if resumed {
            // The mount is there, and what is asked of it waits for this process.
            local.mount().await.map_err(|trouble| anyhow!(trouble))?;
        }
        let handle = member.handle();
        let member = tokio::spawn(member.run(self.leave.clone()));
        self.member = Some((member, handle));
        let mut ready = self.shown.ready.subscribe();
        tokio::select! {
            biased;
            error = self.shown.failure() => Err(error),
            () = shutdown.cancelled() => Ok(()),
            // The sender is our own.
            _ = ready.wait_for(|ready| *ready) => Ok(()),
        }
    }

    /// Where the lease is kept.
    fn leaser(&self) -> anyhow::Result<Arc<dyn Leaser>> {
        Ok(match &self.config.lease.store {
            LeaseStore::Static(fixed) => Arc::new(fixed.clone()),
            LeaseStore::Consul(consul) => {
                let config = ConsulConfig {
                    url: consul.url.clone(),
                    key: consul.key.clone(),
                    ttl: consul.ttl,
                    lock_delay: consul.lock_delay,
                    hostname: Some(self.config.lease.hostname.clone()),
                };
                Arc::new(ConsulLease::new(&config, &ConsulEnvironment::of_process())?)
            }
        })
    }

    /// Makes the part that takes part in the cluster, and serves the API.
    fn join(
        &mut self,
        listener: tokio::net::TcpListener,
        leaser: Arc<dyn Leaser>,
        store: &Arc<Store>,
        epochs: Arc<Epochs>,
    ) -> (Arc<Local>, Member) {
        let lease = &self.config.lease;
        let (tails, requests) = (TailWindow::default(), Arc::new(OnceLock::new()));
        let stream = api::Stream::new(store, &self.config, tails.clone(), self.cancel.clone());
        let local = Arc::new(Local::new(local::Parts {
            config: Arc::clone(&self.config),
            mounting: self.mounting,
            store: Arc::clone(store),
            identity: Identity {
                node_id: store.node_id(),
                hostname: lease.hostname.clone(),
                advertise_url: lease.advertise_url.clone(),
                boot_id: host::boot_id(),
                candidate: lease.candidate && lease.databases.is_empty(),
            },
            epochs,
            replicas: stream.replicas(),
            tails,
            guard: self.guard.clone(),
            earlier: self
                .inherited
                .session
                .take()
                .map(|(device, session)| fuse::Earlier {
                    device,
                    session,
                    revoked: std::mem::take(&mut self.inherited.revoked),
                }),
            requests: Arc::clone(&requests),
            shown: self.shown.clone(),
        }));
        let config = MemberConfig {
            margin: None,
            reconnect_delay: lease.reconnect_delay,
            demote_delay: lease.demote_delay,
            promote: lease.promote,
            new_cluster_id: store
                .cluster_id()
                .unwrap_or_else(ClusterId::random)
                .to_string(),
        };
        let node: Arc<dyn lease::Node> = local.clone();
        let member = Member::new(leaser, node, Arc::new(BootClock), config);
        let handle = member.handle();
        self.api = Some(stream.serve(
            listener,
            &self.config,
            api::Parts {
                store: Arc::clone(store),
                shown: self.shown.clone(),
                requests,
                local: Arc::clone(&local),
                member: handle.clone(),
            },
        ));
        self.local = Some(Arc::clone(&local));
        (local, member)
    }

    async fn open_store(&self) -> anyhow::Result<Arc<Store>> {
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
        tracing::info!(dir = %data.dir.display(), "opening the data directory");
        blocking(move || Ok(Store::open(config, Role::None)?)).await
    }

    /// Tells the guard, and whoever wants to replace this process, that the node is up.
    pub(crate) async fn announce(&self) -> anyhow::Result<()> {
        let resumable = match &self.local {
            Some(local) => local.can_be_resumed().await,
            None => false,
        };
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
        let leading = async {
            match &mut self.member {
                Some((member, _)) => member.await.err(),
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
        let mut unmounted = self.shown.unmounted.subscribe();
        let reason =
            |reason: Option<String>| reason.unwrap_or_else(|| "for no known reason".to_owned());
        tokio::select! {
            error = self.shown.failure() => error,
            end = leading => anyhow!("taking part in the cluster ended: {}", reason(end.map(|end| end.to_string()))),
            _ = unmounted.wait_for(|unmounted| *unmounted) => anyhow!("somebody took the mount down"),
            end = serving => anyhow!("the API ended: {}", reason(end)),
        }
    }

    /// Takes down what is up: the part in the cluster, the streams, the API, the mount, the databases. All of it is tried;
    /// the error is the first.
    ///
    /// A primary hands over first, if there is somebody to take over. If not, it keeps the lease while applications close
    /// their files: nobody else could let them write.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let mut unmounted = Ok(());
        if let Some(local) = self.local.as_ref().filter(|_| self.leads_alone()) {
            unmounted = local.unmount().await;
        }
        self.leave.cancel();
        if let Some((member, _)) = self.member.take() {
            end("leaving the cluster", member, LEAVE).await;
        }
        if let Some(local) = &self.local {
            local.stop_following().await;
        }
        self.cancel.cancel();
        if let Some(api) = self.api.take() {
            end("the API", api, END).await;
        }
        if let Some(local) = self.local.take() {
            unmounted = unmounted.and(local.unmount().await);
        }
        let closed = match self.store.take() {
            Some(store) => blocking(move || {
                store.close();
                Ok(())
            }),
            None => return unmounted,
        };
        unmounted.and(closed.await)
    }

    fn leads_alone(&self) -> bool {
        let movable = matches!(self.config.lease.store, LeaseStore::Consul(_));
        let primary = self
            .store
            .as_ref()
            .is_some_and(|store| store.admits_writers());
        let heir = self.local.as_ref().map(|local| local.best_heir(None));
        primary && !(movable && matches!(heir, Some(Ok(_))))
    }
}

impl Node {
    /// Makes room for a successor: everything is captured, the streams and the API end, and the mount stays for the
    /// process that comes next. So does the lease: the successor takes it over, as nobody else can at once.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        if let Some((member, _)) = self.member.take() {
            member.abort();
        }
        if let Some(local) = &self.local {
            local.stop_following().await;
        }
        self.cancel.cancel();
        if let Some(api) = self.api.take() {
            end("the API", api, END).await;
        }
        if let Some(store) = self.store.take() {
            blocking(move || {
                store.drain();
                Ok(())
            })
            .await?;
        }
        if let Some(local) = self.local.take() {
            // What is still asked of this process is asked again of the next one.
            local.leave_mount_to_successor().await;
        }
        self.guard.leaving().context("tell the guard")
    }
}

/// Waits for a task that was told to end, but not for ever.
async fn end<T>(what: &str, mut task: JoinHandle<T>, patience: Duration) {
    if task.is_finished() {
        return;
    }
    if timeout(patience, &mut task).await.is_err() {
        tracing::warn!(
            "{what} takes longer than {} s, going on without it",
            patience.as_secs()
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
        .map_err(|panic| anyhow!("a part of the node panicked: {panic}"))?
}
