//! This node's session in Consul.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::api::Api;
use crate::clock::{BootClock, Clock as _};
use crate::error::Error;

/// The least that Consul takes as the TTL of a session, and the most.
const LEAST_TTL: Duration = Duration::from_secs(10);
const MOST_TTL: Duration = Duration::from_secs(86_400);

/// Makes the session, keeps it, and finds out when it is gone.
pub(super) struct Session {
    api: Arc<Api>,
    /// What Consul shows of it.
    name: String,
    /// The node of the catalog in whose name it is made; `None`: the agent's.
    node: Option<String>,
    ttl: Duration,
    lock_delay: Duration,
    current: Mutex<Option<Current>>,
}

struct Current {
    id: String,
    /// When it was last made or renewed: the time at which the request was sent.
    renewed: Duration,
    /// Something that needs it was refused, or not answered: perhaps it is gone.
    doubted: bool,
}

impl Session {
    /// Makes no request yet. `lease_ttl`: that of the lease, of which the session is only the garbage collection.
    pub(super) fn new(
        api: Arc<Api>,
        name: String,
        node: Option<String>,
        lease_ttl: Duration,
        lock_delay: Duration,
    ) -> Session {
        Session {
            api,
            name,
            node,
            ttl: (2 * lease_ttl).clamp(LEAST_TTL, MOST_TTL),
            lock_delay,
            current: Mutex::new(None),
        }
    }

    /// The session, made if there is none, renewed if it is time. [`Error::SessionGone`] once when it is gone.
    pub(super) async fn keep(&self) -> Result<String, Error> {
        let mut current = self.current.lock().await;
        let now = BootClock.now();
        let Some(known) = current.as_mut() else {
            return self.make(&mut current).await;
        };
        if !known.doubted && now.saturating_sub(known.renewed) < self.ttl / 3 {
            return Ok(known.id.clone());
        }
        if self.api.renew_session(&known.id).await? {
            known.renewed = now;
            known.doubted = false;
            return Ok(known.id.clone());
        }
        *current = None;
        Err(Error::SessionGone)
    }

    /// The session, made if there is none; it may be gone.
    pub(super) async fn get_or_make(&self) -> Result<String, Error> {
        let mut current = self.current.lock().await;
        match current.as_ref() {
            Some(known) => Ok(known.id.clone()),
            None => self.make(&mut current).await,
        }
    }

    /// The session, if there is one; it may be gone.
    pub(super) async fn get(&self) -> Option<String> {
        let current = self.current.lock().await;
        current.as_ref().map(|known| known.id.clone())
    }

    /// Something was refused, or not answered: the next [`Session::keep`] asks whether it is still there.
    pub(super) async fn doubt(&self) {
        if let Some(known) = self.current.lock().await.as_mut() {
            known.doubted = true;
        }
    }

    /// Ends it.
    pub(super) async fn end(&self) -> Result<(), Error> {
        let mut current = self.current.lock().await;
        if let Some(known) = current.as_ref() {
            self.api.destroy_session(&known.id).await?;
        }
        *current = None;
        Ok(())
    }

    async fn make(&self, current: &mut Option<Current>) -> Result<String, Error> {
        let renewed = BootClock.now();
        if let Some(node) = &self.node {
            // Each time: a Consul that lost everything has lost the node too.
            self.api.register(node).await?;
        }
        let made =
            self.api
                .create_session(&self.name, self.node.as_deref(), self.ttl, self.lock_delay);
        let id = made.await?;
        *current = Some(Current {
            id: id.clone(),
            renewed,
            doubted: false,
        });
        Ok(id)
    }
}
