//! The replica's side: follows a primary.

mod announcer;
mod backoff;
mod clock;
mod connection;
mod heartbeats;
mod inbound;
mod lane;
mod lanes;
mod link;
mod tail;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use store::{DbName, Epoch, PrimaryInfo, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Code;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::{
    clock::Clock,
    connection::as_hello,
    heartbeats::Heartbeats,
    inbound::{Inbound, Piece},
};

use self::announcer::Announcer;
use self::backoff::Backoff;
use self::connection::Connection;
use self::lanes::Lanes;
use crate::RefusalReason;
use crate::error::Error;

/// Whom to follow, and how.
#[derive(Debug, Clone)]
pub struct FollowConfig {
    /// The primary. Its `advertise_url` is `http://host:port`.
    pub primary: PrimaryInfo,
    /// This node's host name, for the primary's status displays.
    pub hostname: String,
    /// The databases to follow; empty means all.
    pub filter: Vec<DbName>,
    /// Whether this node may become the primary.
    pub candidate: bool,
    /// Wait before the first attempt to connect again. Doubles with each attempt, with jitter.
    pub reconnect_min: Duration,
    /// Longest wait, and the wait after a refusal that is not likely to change.
    pub reconnect_max: Duration,
    /// A connection on which nothing came for so long is given up. It is stretched to three heartbeats of the
    /// primary, if that is longer.
    pub silence: Duration,
}

impl FollowConfig {
    /// Follows all databases of this primary, with the default times.
    pub fn new(primary: PrimaryInfo, hostname: String) -> FollowConfig {
        FollowConfig {
            primary,
            hostname,
            filter: Vec::new(),
            candidate: false,
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(5),
            silence: Duration::from_secs(5),
        }
    }

    /// After so much silence the primary is left; there is no patience of zero.
    fn silence(&self) -> Duration {
        self.silence.max(Duration::from_millis(10))
    }
}

/// How it stands with following, for status displays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowState {
    /// No connection yet, or no longer.
    Connecting {
        /// Why the last attempt, or the last connection, ended.
        error: Option<String>,
    },
    /// The primary has accepted us; what it had then is still on its way.
    Connected,
    /// Everything that the primary had when the connection began has been applied, and what it commits comes in.
    InSync,
    /// One side does not go on with the other, for a reason that is not likely to change.
    Refused {
        /// The reason, for people.
        reason: String,
    },
    /// Following has ended.
    Stopped,
}

/// Follows a primary until cancelled. See [`Follower`].
pub async fn follow(store: Arc<Store>, config: FollowConfig, cancel: CancellationToken) {
    Follower::new(store, config).run(cancel).await;
}

/// Follows a primary: keeps a connection to it, and applies what it sends.
pub struct Follower {
    store: Arc<Store>,
    config: FollowConfig,
    /// The highest epoch of a primary; a lower one is refused.
    epoch: Epoch,
    state: watch::Sender<FollowState>,
}

impl Follower {
    /// Nothing happens before [`run`](Self::run).
    pub fn new(store: Arc<Store>, config: FollowConfig) -> Follower {
        let (state, _) = watch::channel(FollowState::Connecting { error: None });
        Follower {
            store,
            config,
            epoch: Epoch::default(),
            state,
        }
    }

    /// Refuses a primary with a lower epoch than this, which the lease gave it.
    #[must_use]
    pub fn with_min_epoch(mut self, epoch: Epoch) -> Follower {
        self.epoch = epoch;
        self
    }

    /// How it stands, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<FollowState> {
        self.state.subscribe()
    }

    /// Follows until cancelled. The store's role is `Replica` from the start, with the primary while connected to it.
    /// When this returns nothing is being applied any more, so that the role can be changed.
    pub async fn run(mut self, cancel: CancellationToken) {
        let announcer = Announcer::start(Arc::clone(&self.store)).await;
        let mut lanes = Lanes::new(Arc::clone(&self.store));
        let mut backoff = Backoff::new(self.config.reconnect_min, self.config.reconnect_max);
        let mut logged = None;
        loop {
            let mut connection = Connection::new(&mut self, &mut lanes, &announcer);
            let error = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                error = connection.run() => error,
            };
            let was_accepted = connection.was_accepted();
            announcer.announce(None);
            if was_accepted {
                backoff.reset();
                logged = None;
            }
            let wait = self.note_end(&error, &mut backoff, &mut logged);
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        lanes.close().await;
        announcer.finish().await;
        self.state.send_replace(FollowState::Stopped);
    }

    /// Shows and logs why a connection ended, the same reason only once. How long to wait.
    fn note_end(
        &self,
        error: &Error,
        backoff: &mut Backoff,
        logged: &mut Option<String>,
    ) -> Duration {
        let url = &self.config.primary.advertise_url;
        let text = error.chain();
        let lasting = is_lasting(error);
        if logged.as_ref() == Some(&text) {
            tracing::debug!(%url, "still not following the primary: {text}");
        } else if is_not_primary(error) {
            // The lease names it and it is not there yet, or not any more.
            tracing::info!(%url, "not connected to the primary: {text}");
        } else if lasting {
            tracing::error!(%url, "cannot follow the primary: {text}");
        } else {
            tracing::warn!(%url, "not connected to the primary: {text}");
        }
        *logged = Some(text.clone());
        if lasting {
            self.state
                .send_replace(FollowState::Refused { reason: text });
            return backoff.slowest();
        }
        self.state
            .send_replace(FollowState::Connecting { error: Some(text) });
        backoff.wait()
    }
}

fn is_not_primary(error: &Error) -> bool {
    let reason = match error {
        Error::Refused { refusal, .. } | Error::Refusing(refusal) => refusal.reason,
        _ => return false,
    };
    reason == RefusalReason::NotPrimary
}

/// Whether trying again will hardly change it.
fn is_lasting(error: &Error) -> bool {
    match error {
        Error::Refused { refusal, .. } | Error::Refusing(refusal) => refusal.is_lasting(),
        Error::Url { .. } => true,
        Error::Status(status) => {
            matches!(
                status.code(),
                Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied
            )
        }
        Error::Violation(_)
        | Error::Silent(_)
        | Error::Closed
        | Error::Transport { .. }
        | Error::Store(_) => false,
    }
}
