//! This node's session in Consul.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// Held while Consul is asked to make, renew or end it. Whoever only needs its name does not wait for that: a
    /// renewal of the lease must not be late because that of the session is.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Current {
    id: String,
    /// When it was last made or renewed: the time at which the request was sent.
    renewed: Duration,
    /// How often something that needs it was refused, or not answered, since then: perhaps it is gone.
    doubts: u64,
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
            ttl: lease_ttl.saturating_mul(2).clamp(LEAST_TTL, MOST_TTL),
            lock_delay,
            current: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        // Only replaced as a whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, made if there is none, renewed if it is time. [`Error::SessionGone`] once when it is gone.
    pub(super) async fn keep(&self) -> Result<String, Error> {
        let _asking = self.asking.lock().await;
        let now = BootClock.now();
        let known = self.current().clone();
        let Some(known) = known else {
            return self.make().await;
        };
        if known.doubts == 0 && now.saturating_sub(known.renewed) < self.ttl / 3 {
            return Ok(known.id);
        }
        let there = self.api.renew_session(&known.id).await?;
        let mut current = self.current();
        if !there {
            *current = None;
            return Err(Error::SessionGone);
        }
        if let Some(current) = current.as_mut() {
            current.renewed = now;
            // A doubt that came while this was on its way stays.
            current.doubts = current.doubts.saturating_sub(known.doubts);
        }
        Ok(known.id)
    }

    /// The session, made if there is none; it may be gone.
    pub(super) async fn get_or_make(&self) -> Result<String, Error> {
        if let Some(id) = self.get() {
            return Ok(id);
        }
        let _asking = self.asking.lock().await;
        match self.get() {
            Some(id) => Ok(id),
            None => self.make().await,
        }
    }

    /// The session, if there is one; it may be gone.
    pub(super) fn get(&self) -> Option<String> {
        self.current().as_ref().map(|known| known.id.clone())
    }

    /// Something was refused, or not answered: the next [`Session::keep`] asks whether it is still there.
    pub(super) fn doubt(&self) {
        if let Some(known) = self.current().as_mut() {
            known.doubts += 1;
        }
    }

    /// Ends it.
    pub(super) async fn end(&self) -> Result<(), Error> {
        let _asking = self.asking.lock().await;
        if let Some(id) = self.get() {
            self.api.destroy_session(&id).await?;
        }
        *self.current() = None;
        Ok(())
    }

    async fn make(&self) -> Result<String, Error> {
        let renewed = BootClock.now();
        if let Some(node) = &self.node {
            // Each time: a Consul that lost everything has lost the node too.
            self.api.register(node).await?;
        }
        let made =
            self.api
                .create_session(&self.name, self.node.as_deref(), self.ttl, self.lock_delay);
        let id = made.await?;
        *self.current() = Some(Current {
            id: id.clone(),
            renewed,
            doubts: 0,
        });
        Ok(id)
    }
}
