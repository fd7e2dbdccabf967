//! The end of a member.

use super::Member;
use super::status::Phase;
use crate::leaser::Holder;

impl Member {
    /// Takes everything out of the lease store. The node is fenced, or was no primary.
    pub(super) async fn close(&mut self) {
        self.orders.close();
        if !self.env.traits.movable {
            self.env.desk.phase(Phase::Stopped);
            return;
        }
        if self.posted.is_some() || self.env.me.candidate {
            let unpost = self.env.leaser.unpost(self.env.me.node_id);
            let _ = self.env.answer(unpost).await;
        }
        self.give_up().await;
        if let Err(error) = self.env.answer(self.env.leaser.close()).await {
            tracing::info!(%error, "the session in the lease store ends by itself later");
        }
        self.env.desk.phase(Phase::Stopped);
        tracing::info!("this node takes no part in elections any more");
    }

    /// Gives up what this node's session may hold: the lease was taken and the answer was lost, or it was handed over
    /// a moment ago. Nobody leads under it.
    async fn give_up(&mut self) {
        let Ok(seen) = self.env.answer(self.env.leaser.read()).await else {
            return;
        };
        if let Holder::Node(record, holder) = seen.holder
            && holder.is_some()
            && holder == self.session
        {
            let _ = self.env.answer(self.env.leaser.release(&record)).await;
        }
    }
}
