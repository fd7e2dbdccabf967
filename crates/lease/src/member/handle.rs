//! What others may ask of a member.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::status::{Desk, MemberStatus};
use crate::node::Trouble;

/// The answer to an order.
pub(super) type Reply = oneshot::Sender<Result<(), Trouble>>;

/// What a member is asked for.
pub(super) enum Order {
    HandOff { to: Option<u64>, reply: Reply },
    Demote { reply: Reply },
    Force { reply: Reply },
}

impl Order {
    pub(super) fn reply(self) -> Reply {
        match self {
            Order::HandOff { reply, .. } | Order::Demote { reply } | Order::Force { reply } => {
                reply
            }
        }
    }
}

/// Asks a member for something. Clones ask the same member.
#[derive(Clone)]
pub struct MemberHandle {
    orders: mpsc::Sender<Order>,
    desk: Arc<Desk>,
}

impl std::fmt::Debug for MemberHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberHandle")
    }
}

impl MemberHandle {
    pub(super) fn new(orders: mpsc::Sender<Order>, desk: Arc<Desk>) -> MemberHandle {
        MemberHandle { orders, desk }
    }

    /// On the primary: hands the lease over to the node with that number, or to the most advanced candidate that is
    /// connected. When it returns the lease is the other node's, and nothing that was acknowledged is missing there.
    /// An error: this node is the primary as before, unless the text says otherwise.
    pub async fn handoff(&self, to: Option<u64>) -> Result<(), Trouble> {
        self.order(|reply| Order::HandOff { to, reply }).await
    }

    /// On the primary: hands over, or steps down if there is nobody, and does not want to be elected for the
    /// configured time. When it returns this node commits nothing.
    pub async fn demote(&self) -> Result<(), Trouble> {
        self.order(|reply| Order::Demote { reply }).await
    }

    /// Makes this node eligible for the next election, though it lacks databases or transactions. What it lacks is
    /// lost to the cluster. A lease that is held is not seized.
    pub async fn promote_by_force(&self) -> Result<(), Trouble> {
        self.order(|reply| Order::Force { reply }).await
    }

    /// What the member does, and why it does not do more.
    pub fn status(&self) -> watch::Receiver<MemberStatus> {
        self.desk.subscribe()
    }

    async fn order(&self, order: impl FnOnce(Reply) -> Order) -> Result<(), Trouble> {
        let (reply, answer) = oneshot::channel();
        let stopped = || "this node is stopping".to_owned();
        self.orders
            .send(order(reply))
            .await
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}
