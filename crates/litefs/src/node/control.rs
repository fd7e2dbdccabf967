//! What an operator may ask of this node's part in the cluster, by the API.

use std::sync::Arc;
use std::time::Duration;

use http_api::{Acting, NotDone};
use lease::{MemberHandle, Node as _, Phase};
use tokio::time::timeout;

use super::local::Local;

/// How long a promotion may take, from the request on.
const PROMOTION: Duration = Duration::from_secs(30);

/// How long a handoff may take.
const HANDOFF: Duration = Duration::from_secs(30);

/// Passes requests on to the member.
pub(super) struct Control {
    local: Arc<Local>,
    member: MemberHandle,
}

impl Control {
    pub(super) fn new(local: Arc<Local>, member: MemberHandle) -> Control {
        Control { local, member }
    }

    async fn promote(&self, force: bool) -> Result<(), NotDone> {
        let mut status = self.member.status();
        let phase = status.borrow().phase.clone();
        if matches!(phase, Phase::Primary { .. }) {
            return Ok(());
        }
        if !self.local.identity().candidate {
            return Err(NotDone::NotEligible(
                "not eligible to become primary".to_owned(),
            ));
        }
        if force {
            self.member
                .promote_by_force()
                .await
                .map_err(NotDone::Failed)?;
        }
        match phase {
            Phase::Follower { primary } => {
                let asked = self.local.ask_for_handoff(&primary).await;
                if let Err(trouble) = asked {
                    // Forced, it takes over as soon as the lease is free.
                    return Err(NotDone::Failed(format!(
                        "the primary did not hand over: {trouble}"
                    )));
                }
            }
            _ if force => {}
            _ => {
                let known = status.borrow().refusal.clone();
                let why = known.unwrap_or_else(|| "no primary is known".to_owned());
                return Err(NotDone::Failed(why));
            }
        }
        let primary = status.wait_for(|status| matches!(status.phase, Phase::Primary { .. }));
        match timeout(PROMOTION, primary).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(NotDone::Failed("this node is stopping".to_owned())),
            Err(_) => Err(NotDone::Failed(format!(
                "not the primary after {} s",
                PROMOTION.as_secs()
            ))),
        }
    }

    async fn handoff(&self, to: Option<u64>) -> Result<(), NotDone> {
        match timeout(HANDOFF, self.member.handoff(to)).await {
            Ok(done) => {
                done.map_err(|trouble| NotDone::Failed(format!("cannot handoff: {trouble}")))
            }
            Err(_) => Err(NotDone::Failed(format!(
                "cannot handoff: not done after {} s",
                HANDOFF.as_secs()
            ))),
        }
    }
}

impl http_api::Control for Control {
    fn promote(&self, force: bool) -> Acting<'_> {
        Box::pin(self.promote(force))
    }

    fn handoff(&self, to: Option<u64>) -> Acting<'_> {
        Box::pin(self.handoff(to))
    }
}
