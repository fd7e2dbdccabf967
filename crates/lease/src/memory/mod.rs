//! A lease store in the memory of the process, for tests: many nodes of one process share it.
//!
//! It keeps to Consul's semantics (the same conformance tests run against both), by a clock that the test owns, and
//! with a network that the test can break.

mod hook;
mod lease;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::leaser::{SessionId, Survey};

pub use hook::{Fate, Hook, Leg, Op};
pub use lease::MemoryLease;
use state::{Rules, State};

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Whoever watches is told of each change of the record, in the order in which they came.
    changed: Notify,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl MemoryStore {
    /// An empty store. A session ends when it was not renewed for `session_ttl` (in Consul it may be twice that), and
    /// what it held cannot be locked for `lock_delay` from then on.
    pub fn new(clock: Arc<dyn Clock>, session_ttl: Duration, lock_delay: Duration) -> MemoryStore {
        MemoryStore(Arc::new(Shared {
            clock,
            state: Mutex::new(State::new(Rules {
                session_ttl,
                lock_delay,
            })),
            changed: Notify::new(),
        }))
    }

    /// A node's view of it. `ttl`: for how long leases hold.
    pub fn lease(&self, ttl: Duration) -> MemoryLease {
        MemoryLease::new(self.clone(), ttl)
    }

    /// All that there is, past any fault.
    pub fn survey(&self) -> Survey {
        self.with(|state, _| state.survey())
    }

    /// Ends a session, as an operator can.
    pub fn end_session(&self, id: &SessionId) {
        self.with(|state, now| state.end_session(id, now));
    }

    /// Writes the lease's key (`None`: deletes it), as a stranger can: locks are advisory.
    pub fn intrude(&self, value: Option<&str>) {
        self.with(|state, _| state.intrude(value.map(str::as_bytes)));
    }

    /// Names the cluster, or takes its name away, as a stranger can.
    pub fn intrude_cluster_id(&self, id: Option<&str>) {
        self.with(|state, _| state.intrude_cluster_id(id));
    }

    /// Loses everything, as a Consul that is rebuilt.
    pub fn wipe(&self) {
        self.with(|state, _| state.wipe());
    }

    /// Does something with the state as it is now, sessions that are over having ended, and wakes who watches.
    fn with<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let (done, changed) = {
            // Nothing panics in the middle of a change.
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.0.clock.now();
            let before = state.version();
            state.expire(now);
            let done = act(&mut state, now);
            (done, state.version() != before)
        };
        if changed {
            self.0.changed.notify_waiters();
        }
        done
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire(self.0.clock.now());
        look(&state)
    }
}
