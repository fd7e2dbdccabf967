//! Following a primary: the task that does it, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use replication::{FollowConfig, FollowState, Follower};
use store::{Epoch, PrimaryInfo, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The first wait before a replica tries again to reach its primary. It doubles up to `lease.reconnect-delay`.
const RECONNECT_MIN: Duration = Duration::from_millis(50);

/// Waits until this node has what its primary has; `false` if it follows no more.
pub(super) async fn is_in_sync(state: &mut watch::Receiver<FollowState>) -> bool {
    let in_sync = state.wait_for(|state| matches!(state, FollowState::InSync));
    in_sync.await.is_ok()
}

/// A task that follows a primary.
pub(super) struct Following {
    /// Whom.
    pub(super) primary: PrimaryInfo,
    /// Its term, as the lease says; 0 if that does not know.
    pub(super) epoch: u64,
    task: JoinHandle<()>,
    cancel: CancellationToken,
    state: watch::Receiver<FollowState>,
}

impl Following {
    /// Begins to follow.
    pub(super) fn start(
        store: &Arc<Store>,
        config: &Config,
        primary: PrimaryInfo,
        epoch: u64,
    ) -> Following {
        let delay = config.lease.reconnect_delay;
        let follow = FollowConfig {
            filter: config.lease.databases.clone(),
            candidate: config.lease.candidate,
            reconnect_min: RECONNECT_MIN.min(delay),
            reconnect_max: delay,
            ..FollowConfig::new(primary.clone(), config.lease.hostname.clone())
        };
        let follower = Follower::new(Arc::clone(store), follow).with_min_epoch(Epoch::new(epoch));
        let state = follower.state();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(follower.run(cancel.clone()));
        Following {
            primary,
            epoch,
            task,
            cancel,
            state,
        }
    }

    /// How it stands.
    pub(super) fn state(&self) -> watch::Receiver<FollowState> {
        self.state.clone()
    }

    /// Ends it; when this returns nothing is being applied any more.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            tracing::error!("following the primary ended: {error}");
        }
    }
}
