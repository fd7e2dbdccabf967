//! This node, as the member of its cluster drives it: the store, its mount, and the stream from its primary.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lease::{
    BootClock, Clock as _, Doing, Holdings, Identity, Place, Positions, Record, Term, Trouble,
};
use ltx::Pos;
use replication::{FollowState, ReplicaStatus, Replicas, TailWindow};
use store::{ClusterId, DbName, Epoch, PrimaryInfo, Role, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use super::epochs::Epochs;
use super::following::{Following, is_in_sync};
use super::{Mounting, blocking};
use crate::api_client::ApiClient;
use crate::config::Config;
use crate::guard::Link;

/// How long a new primary waits, before applications may write, for replicas that may have more than it.
const TAILS: Duration = Duration::from_secs(10);

/// How long applications get to end what they are about to commit when nothing is urgent.
const FENCE: Duration = Duration::from_millis(300);

/// When to try again to note something that could not be written.
const NOTE_AGAIN: Duration = Duration::from_secs(5);

/// So much before the deadline what could not be locked out is taken away.
const REVOCATION: Duration = Duration::from_millis(100);

/// A candidate that lacks more transactions than this of a database is not handed the lease: it would have to catch up
/// while nobody can write.
const CLOSE: u64 = 1000;

/// The node's parts that change with its role.
pub(super) struct Local {
    config: Arc<Config>,
    mounting: Mounting,
    store: Arc<Store>,
    identity: Identity,
    epochs: Arc<Epochs>,
    replicas: Replicas,
    tails: TailWindow,
    guard: Link,
    /// The session of a process before this one, until it is taken up.
    earlier: Mutex<Option<fuse::Earlier>>,
    mount: Arc<tokio::sync::Mutex<Option<fuse::Mount>>>,
    following: tokio::sync::Mutex<Option<Following>>,
    /// The term in which this node leads or is about to, 0 if it is in none. What was begun for a term that is over by
    /// then has no effect.
    term: Arc<Mutex<u64>>,
    requests: Arc<OnceLock<FuseCounter>>,
    shown: Shown,
}

/// Requests of the mount since it is there, by kind.
pub(super) type FuseCounter = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// What others wait for, or show.
#[derive(Clone, Default)]
pub(super) struct Shown {
    /// It can be used: a primary, or a replica that has caught up once.
    pub(super) ready: watch::Sender<bool>,
    /// Somebody else took the mount down.
    pub(super) unmounted: watch::Sender<bool>,
    /// Following is at this.
    pub(super) stream: watch::Sender<Option<watch::Receiver<FollowState>>>,
    /// What cannot be mended by trying again.
    fatal: Arc<Mutex<Option<anyhow::Error>>>,
    failed: watch::Sender<bool>,
}

impl Shown {
    /// Waits until something failed for good.
    pub(super) async fn failure(&self) -> anyhow::Error {
        // The sender is our own.
        let _ = self.failed.subscribe().wait_for(|failed| *failed).await;
        let fatal = lock(&self.fatal).take();
        fatal.unwrap_or_else(|| anyhow::anyhow!("the node failed"))
    }

    fn fail(&self, error: anyhow::Error) {
        *lock(&self.fatal) = Some(error);
        self.failed.send_replace(true);
    }
}

/// What a [`Local`] is made of.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) mounting: Mounting,
    pub(super) store: Arc<Store>,
    pub(super) identity: Identity,
    pub(super) epochs: Arc<Epochs>,
    pub(super) replicas: Replicas,
    pub(super) tails: TailWindow,
    pub(super) guard: Link,
    pub(super) earlier: Option<fuse::Earlier>,
    pub(super) requests: Arc<OnceLock<FuseCounter>>,
    pub(super) shown: Shown,
}

impl Local {
    pub(super) fn new(parts: Parts) -> Local {
        Local {
            config: parts.config,
            mounting: parts.mounting,
            store: parts.store,
            identity: parts.identity,
            epochs: parts.epochs,
            replicas: parts.replicas,
            tails: parts.tails,
            guard: parts.guard,
            earlier: Mutex::new(parts.earlier),
            mount: Arc::default(),
            term: Arc::default(),
            following: tokio::sync::Mutex::default(),
            requests: parts.requests,
            shown: parts.shown,
        }
    }

    /// The connected candidate that is the most advanced, or that one; and what it lacks.
    pub(super) fn best_heir(&self, wanted: Option<u64>) -> Result<u64, Trouble> {
        let ours = positions(&self.store);
        let connected = self.replicas.list();
        if let Some(wanted) = wanted {
            let found = connected.iter().find(|replica| replica.node_id == wanted);
            let found = found.ok_or("target node is not currently connected")?;
            return check_heir(&ours, found).map(|_| found.node_id);
        }
        let lacking = |replica: &&ReplicaStatus| check_heir(&ours, replica).ok();
        let best = connected
            .iter()
            .filter(|replica| lacking(replica).is_some())
            .min_by_key(lacking);
        best.map(|replica| replica.node_id)
            .ok_or_else(|| "no candidate is connected that has (nearly) all".to_owned())
    }

    /// Takes down what is mounted.
    pub(super) async fn unmount(&self) -> anyhow::Result<()> {
        let mount = self.mount.lock().await.take();
        // What the guard has open would keep the mount busy.
        self.guard.release_all();
        let unmounted = match mount {
            Some(mount) => blocking(move || Ok(mount.unmount()?)).await,
            None => return Ok(()),
        };
        self.guard.unmounted();
        unmounted
    }

    /// Whether another process can go on with the mount.
    pub(super) async fn can_be_resumed(&self) -> bool {
        let mount = self.mount.lock().await;
        mount.as_ref().is_some_and(fuse::Mount::can_be_resumed)
    }

    /// The mount stays when this process ends.
    pub(super) async fn leave_mount_to_successor(&self) {
        std::mem::forget(self.mount.lock().await.take());
    }

    pub(super) async fn stop_following(&self) {
        if let Some(following) = self.following.lock().await.take() {
            following.stop().await;
        }
    }

    /// Mounts, if that has not been done. An error is the end of the node.
    pub(super) async fn mount(&self) -> Result<(), Trouble> {
        let mut mounted = Arc::clone(&self.mount).lock_owned().await;
        if mounted.is_some() {
            return Ok(());
        }
        let config = fuse::MountConfig {
            dir: self.config.fuse.dir.clone(),
            allow_other: self.config.fuse.allow_other,
            passthrough: self.config.fuse.passthrough,
            clear_stale: self.mounting.clear_stale,
            debug: self.mounting.debug,
        };
        let (store, guard) = (Arc::clone(&self.store), self.guard.clone());
        let (requests, unmounted) = (Arc::clone(&self.requests), self.shown.unmounted.clone());
        let earlier = lock(&self.earlier).take();
        // To its end, also if whoever asked for it does not wait so long.
        let done = blocking(move || {
            let keeping = guard.clone();
            let keep: fuse::Keep =
                Box::new(move |device, session| keeping.keep_session(device, session));
            let mount = fuse::mount(store, config, earlier, keep)?;
            tracing::info!(dir = %mount.dir().display(), passthrough = mount.passthrough(), "mounted");
            guard
                .mounted(mount.dir())
                .context("tell the guard of the mount")?;
            // It is set once.
            let _ = requests.set(Box::new(mount.request_counter()));
            mount.when_ended(Box::new(move || {
                unmounted.send_replace(true);
            }));
            *mounted = Some(mount);
            Ok(())
        });
        done.await.map_err(|error| {
            let text = format!("{error:#}");
            self.shown.fail(error);
            text
        })
    }

    /// Waits for what replicas have and this node has not. Applications cannot commit yet.
    async fn take_tails(&self, awaited: Vec<u64>) {
        if awaited.is_empty() {
            return;
        }
        tracing::warn!(
            replicas = awaited.len(),
            "waiting up to {} s for what replicas have and this node has not",
            TAILS.as_secs()
        );
        self.tails.open(awaited);
        let missing = self.tails.close_after(TAILS).await;
        if missing > 0 {
            tracing::warn!(
                replicas = missing,
                "did not come; what only they have will be put aside there"
            );
        }
    }

    async fn begin_to_lead(&self, term: &Term) -> anyhow::Result<Vec<u64>> {
        let (store, epochs, term) = (
            Arc::clone(&self.store),
            Arc::clone(&self.epochs),
            term.clone(),
        );
        let (current, guard) = (Arc::clone(&self.term), self.guard.clone());
        *lock(&current) = term.epoch;
        blocking(move || {
            let current = lock(&current);
            epochs.had_all_of(term.epoch)?;
            let id: ClusterId = term.cluster_id.parse()?;
            store.adopt_cluster_id(id)?;
            let mut awaited: Vec<u64> = term.ahead.iter().map(|post| post.node_id).collect();
            if !store.is_mounted() && store.is_after_machine_crash() {
                awaited.extend(store.known_replicas()?);
            }
            anyhow::ensure!(*current == term.epoch, OVER);
            store.begin_term(Epoch::new(term.epoch))?;
            guard.set_epoch(term.epoch);
            Ok(awaited)
        })
        .await
    }

    async fn try_lead(&self, term: &Term) -> Result<(), Trouble> {
        self.stop_following().await;
        self.shown.stream.send_replace(None);
        let begun = self.begin_to_lead(term).await;
        let awaited = begun.map_err(trouble)?;
        self.take_tails(awaited).await;
        if lock(&self.earlier).is_none() {
            self.mount().await?;
        }
        let admitted = self.admit(term.epoch).await;
        admitted.map_err(trouble)?;
        // Whoever waits for a process that died is answered when it can be yes.
        self.mount().await?;
        self.shown.ready.send_replace(true);
        Ok(())
    }

    /// Lets applications commit, unless the term is over.
    async fn admit(&self, epoch: u64) -> anyhow::Result<()> {
        let (store, current) = (Arc::clone(&self.store), Arc::clone(&self.term));
        blocking(move || {
            let current = lock(&current);
            anyhow::ensure!(*current == epoch, OVER);
            store.admit();
            Ok(())
        })
        .await
    }

    async fn try_follow(&self, record: &Record) -> Result<(), Trouble> {
        let primary = PrimaryInfo {
            hostname: record.hostname.clone(),
            advertise_url: record.advertise_url.clone(),
        };
        {
            let following = self.following.lock().await;
            if following
                .as_ref()
                .is_some_and(|now| now.primary == primary && now.epoch == record.epoch)
            {
                return Ok(());
            }
        }
        self.stop_following().await;
        let (store, epochs, epoch) = (
            Arc::clone(&self.store),
            Arc::clone(&self.epochs),
            record.epoch,
        );
        blocking(move || {
            epochs.saw(epoch)?;
            Ok(store.set_role(Role::Replica { primary: None })?)
        })
        .await
        .map_err(trouble)?;
        self.mount().await?;
        if self.config.skip_sync {
            self.shown.ready.send_replace(true);
        }
        tracing::info!(
            primary = record.hostname,
            url = record.advertise_url,
            epoch,
            "following"
        );
        let following = Following::start(&self.store, &self.config, primary, epoch);
        self.shown.stream.send_replace(Some(following.state()));
        self.note_when_in_sync(following.state(), epoch);
        *self.following.lock().await = Some(following);
        Ok(())
    }

    /// A node that has all that its primary has counts as one of that term, and can be used.
    fn note_when_in_sync(&self, mut state: watch::Receiver<FollowState>, epoch: u64) {
        let (epochs, ready) = (Arc::clone(&self.epochs), self.shown.ready.clone());
        tokio::spawn(async move {
            if !is_in_sync(&mut state).await {
                return;
            }
            ready.send_replace(true);
            loop {
                let epochs = Arc::clone(&epochs);
                match blocking(move || epochs.had_all_of(epoch)).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::error!("not noted that this node is in sync: {error:#}");
                    }
                }
                // A full disk, most likely. Not for longer than the primary is followed.
                tokio::select! {
                    () = tokio::time::sleep(NOTE_AGAIN) => {}
                    Err(_) = state.wait_for(|_| false) => return,
                }
            }
        });
    }

    /// Waits until this node has what its primary has; for ever, if it follows nobody.
    async fn until_in_sync(&self) {
        let mut current = self.shown.stream.subscribe();
        loop {
            let following = current.borrow_and_update().clone();
            let in_sync = async {
                match following {
                    Some(mut state) => is_in_sync(&mut state).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                true = in_sync => return,
                // The sender is our own.
                _ = current.changed() => {}
            }
        }
    }

    /// How long to wait for locks, if nobody may commit after `by`.
    fn patience(by: Option<Duration>) -> Duration {
        let Some(by) = by else { return FENCE };
        by.saturating_sub(BootClock.now())
            .saturating_sub(REVOCATION)
            .min(FENCE)
    }
}

impl lease::Node for Local {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn holdings(&self) -> Doing<'_, Holdings> {
        Box::pin(async {
            let (store, epochs) = (Arc::clone(&self.store), Arc::clone(&self.epochs));
            let gathered = blocking(move || {
                if store.admits_writers() {
                    for db in store.databases() {
                        // One that cannot be captured has the position that was captured last.
                        let _ = db.drain();
                    }
                }
                Ok(Holdings {
                    cluster_id: store.cluster_id().map(|id| id.to_string()),
                    epoch: epochs.synced(),
                    seen_epoch: epochs.seen().max(latest_epoch(&store)),
                    // First what is there: what goes in between is in both.
                    positions: holdings(&store),
                    dropped: dropped(&store),
                })
            });
            gathered.await.unwrap_or_default()
        })
    }

    fn extend(&self, deadline: Option<Duration>) {
        if let Err(error) = self.guard.set_deadline(deadline) {
            tracing::error!(%error, "the guard cannot be told until when this node may commit");
        }
    }

    fn lead<'a>(&'a self, term: &'a Term) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(self.try_lead(term))
    }

    fn fence(&self, by: Option<Duration>) -> Doing<'_, ()> {
        Box::pin(async move {
            let (store, current) = (Arc::clone(&self.store), Arc::clone(&self.term));
            let guard = self.guard.clone();
            let fenced = blocking(move || {
                *lock(&current) = 0;
                if store.role().is_primary() {
                    store.fence(Local::patience(by))?;
                    // Nobody commits: nothing is left to be watched.
                    guard.set_epoch(0);
                    guard.set_deadline(None)?;
                }
                Ok(())
            })
            .await;
            if let Err(error) = fenced {
                tracing::error!("fencing: {error:#}");
            }
            self.tails.close_after(Duration::ZERO).await;
        })
    }

    fn follow<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(self.try_follow(primary))
    }

    fn stand_by<'a>(&'a self, why: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            tracing::info!("waiting: {why}");
            self.stop_following().await;
        })
    }

    fn acknowledged(&self) -> Positions {
        let connected = self.replicas.list();
        let candidates = || connected.iter().filter(|replica| replica.candidate);
        let highest = |name: &DbName| {
            let of = |replica: &ReplicaStatus| acknowledged(replica, name).txid.get();
            candidates().map(of).max().unwrap_or(0)
        };
        let place = |db: &Arc<store::Database>| Place {
            incarnation: db.incarnation().get(),
            txid: highest(db.name()),
        };
        let databases = self.store.databases();
        databases
            .iter()
            .map(|db| (db.name().to_string(), place(db)))
            .collect()
    }

    fn heir<'a>(&'a self, wanted: Option<u64>) -> Doing<'a, Result<u64, Trouble>> {
        Box::pin(async move { self.best_heir(wanted) })
    }

    fn freeze(&self, within: Duration) -> Doing<'_, Result<(), Trouble>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            blocking(move || Ok(store.freeze(within)?))
                .await
                .map_err(trouble)
        })
    }

    fn drain<'a>(&'a self, heir: u64, by: Duration) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            let end = positions(&self.store);
            let has_all = |replicas: &[ReplicaStatus]| {
                let heir = replicas.iter().find(|replica| replica.node_id == heir);
                heir.is_some_and(|heir| {
                    end.iter()
                        .all(|(name, pos)| acknowledged(heir, name) == *pos)
                })
            };
            let left = by.saturating_sub(BootClock.now());
            timeout(left, self.replicas.until(has_all))
                .await
                .map_err(|_| "the target did not acknowledge everything in time".to_owned())
        })
    }

    fn thaw(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            let epoch = *lock(&self.term);
            if let Err(error) = self.admit(epoch).await {
                tracing::error!("thawing: {error:#}");
            }
        })
    }

    fn ask_for_handoff<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            self.until_in_sync().await;
            let asked = async {
                let client = ApiClient::new(&primary.advertise_url)?;
                client.handoff(Some(self.identity.node_id)).await
            };
            asked
                .await
                .map_err(|error: anyhow::Error| format!("{error:#}"))
        })
    }
}

/// What a term ended before it could begin.
const OVER: &str = "the term is over";

/// The error with its causes, for people.
fn trouble(error: anyhow::Error) -> Trouble {
    format!("{error:#}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in there is whole also after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where each database is.
fn positions(store: &Store) -> Vec<(DbName, Pos)> {
    let databases = store.databases();
    databases
        .iter()
        .map(|db| (db.name().clone(), db.pos()))
        .collect()
}

/// The latest term that wrote to a database of this node. A static lease tells its followers no epochs; one that becomes
/// the primary later must not begin a term that another node had, for then nobody could tell their histories apart.
fn latest_epoch(store: &Store) -> u64 {
    let databases = store.databases();
    let epochs = databases.iter().map(|db| db.last_term().get());
    epochs.max().unwrap_or(0)
}

/// Where each database is, as it is said in an election. A database whose content is in doubt is none.
fn holdings(store: &Store) -> Positions {
    let databases = store.databases();
    databases
        .iter()
        .filter(|db| !db.pos().txid.is_zero())
        .map(|db| {
            let place = Place {
                incarnation: db.incarnation().get(),
                txid: db.pos().txid.get(),
            };
            (db.name().to_string(), place)
        })
        .collect()
}

/// What is not there any more because the primary said so.
fn dropped(store: &Store) -> Positions {
    let place = |database: store::DroppedDatabase| {
        let place = Place {
            incarnation: database.incarnation.get(),
            txid: database.txid.get(),
        };
        (database.name.to_string(), place)
    };
    store.dropped().into_iter().map(place).collect()
}

fn acknowledged(replica: &ReplicaStatus, name: &DbName) -> Pos {
    let acknowledged = &replica.acknowledged;
    let found = acknowledged.binary_search_by(|(known, _)| known.cmp(name));
    found.map_or(Pos::EMPTY, |at| acknowledged[at].1)
}

/// How many transactions it lacks; an error if it cannot take over at once.
fn check_heir(ours: &[(DbName, Pos)], replica: &ReplicaStatus) -> Result<u64, Trouble> {
    if !replica.candidate {
        return Err(format!("{} is not a candidate", replica.hostname));
    }
    let mut lacks = 0;
    for (name, pos) in ours {
        let theirs = acknowledged(replica, name).txid.get();
        let behind = pos.txid.get().saturating_sub(theirs);
        if (theirs == 0 && !pos.txid.is_zero()) || behind > CLOSE {
            return Err(format!(
                "{} is {behind} transactions behind in {name}",
                replica.hostname
            ));
        }
        lacks += behind;
    }
    Ok(lacks)
}
