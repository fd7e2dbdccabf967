//! The driver of elections: takes part in a cluster on behalf of one node.
//!
//! A [`Member`] looks for the primary ([`seek`](Member::seek)) until it follows one or is one, and leads
//! ([`reign`]) until it does not any more. `docs/leases.md` has the protocol and why it is safe.

mod close;
mod config;
mod elect;
mod env;
mod handle;
mod handoff;
mod reign;
mod rules;
mod seek;
mod status;
mod tenure;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::leaser::{Leaser, Seen, SessionId, Version};
use crate::node::Node;
use crate::record::{Post, Record};
use env::{Env, Slot};
use handle::Order;
use rules::LastTerm;

pub use config::MemberConfig;
pub use handle::MemberHandle;
pub use status::{MemberStatus, Phase};

/// A node's part in a cluster.
pub struct Member {
    env: Env,
    orders: mpsc::Receiver<Order>,
    handle: MemberHandle,
    /// The record, and when that state of it was received.
    known: Option<Known>,
    /// The session in whose name this node acts.
    session: Option<SessionId>,
    /// The session under which this node's post is.
    posted: Option<SessionId>,
    /// What that post says.
    last_post: Option<Post>,
    /// The highest epoch that was seen in a record.
    seen_epoch: u64,
    /// Whom the node follows.
    following: Option<Record>,
    /// Since when the lease is vacant.
    vacant: Option<Vacant>,
    last_term: Option<LastTerm>,
    /// Until then the node does not want to be elected, and why.
    unwilling: Option<(Duration, String)>,
    forced: bool,
    keeping: Slot<seek::Kept>,
    keep_at: Duration,
    asking: Slot<Result<(), String>>,
    ask_at: Option<Duration>,
}

struct Known {
    seen: Seen,
    received: Duration,
}

struct Vacant {
    record: Version,
    epoch: Version,
    session: SessionId,
    since: Duration,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Member")
    }
}

impl Member {
    /// A member that does nothing yet.
    pub fn new(
        leaser: Arc<dyn Leaser>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
        config: MemberConfig,
    ) -> Member {
        let env = Env::new(leaser, node, clock, config);
        let (sender, orders) = mpsc::channel(8);
        let now = env.now();
        Member {
            handle: MemberHandle::new(sender, env.desk.clone()),
            orders,
            known: None,
            session: None,
            posted: None,
            last_post: None,
            seen_epoch: 0,
            following: None,
            vacant: None,
            last_term: None,
            unwilling: None,
            forced: false,
            keeping: Slot::empty(),
            keep_at: now,
            asking: Slot::empty(),
            ask_at: env.config.promote.then_some(now),
            env,
        }
    }

    /// By which it is asked for something.
    pub fn handle(&self) -> MemberHandle {
        self.handle.clone()
    }

    /// Takes part until it is cancelled. Then it hands over if it leads and somebody can take over, else gives the
    /// lease up; that takes a few seconds at most. The node is fenced when it returns.
    ///
    /// Not to be dropped before it returns: the node may be the primary until its deadline.
    pub async fn run(mut self, cancel: CancellationToken) {
        self.env.cancel = cancel;
        self.stand_by("looking for the lease").await;
        while let Ok(won) = self.seek().await {
            self.forced = false;
            self.env.desk.forced(false);
            self.env.desk.content();
            if self.reign(won).await.is_break() {
                break;
            }
        }
        self.close().await;
    }
}
