//! The planned handoff, on the side of the primary that ends.

use std::time::Duration;

use super::reign::{Ended, Reign};
use super::status::Phase;
use super::tenure::Sight;
use crate::error::Error;
use crate::leaser::{Holder, Outcome, Seen, SessionId};
use crate::node::Trouble;
use crate::record::Record;

/// Within that time nobody can commit any more, or it is given up.
const FREEZE_WITHIN: Duration = Duration::from_millis(50);

/// For how long applications wait for the heir at most.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// What went wrong with the lease store is tried again after this time.
const RETRY: Duration = Duration::from_millis(50);

/// How a handoff ends.
pub(super) enum Handover {
    /// The lease is that node's.
    Done(u64),
    /// Everything is as before, and why.
    Aborted(Trouble),
    /// The term ends, and why.
    Ended(Ended, Trouble),
}

/// To whom the lease goes.
struct Heir {
    session: SessionId,
    record: Record,
}

/// Nothing has been frozen, or it is thawed again.
type Step<T> = Result<T, Handover>;

fn aborted<T>(why: impl Into<Trouble>) -> Step<T> {
    Err(Handover::Aborted(why.into()))
}

fn lost<T>(why: &str) -> Step<T> {
    let text = format!("the lease was lost meanwhile: {why}");
    Err(Handover::Ended(Ended::Lost(why.to_owned()), text))
}

fn too_late<T>() -> Step<T> {
    let text =
        "the lease store does not answer, and the lease has ended: any candidate may take over";
    Err(Handover::Ended(Ended::Deadline, text.to_owned()))
}

impl Reign<'_> {
    /// Hands over to that node, or to the most advanced candidate.
    pub(super) async fn hand_over(&mut self, to: Option<u64>) -> Handover {
        self.stop_the_rest();
        match self.steps(to).await {
            Ok(done) | Err(done) => done,
        }
    }

    async fn steps(&mut self, to: Option<u64>) -> Step<Handover> {
        let id = self.heir(to).await?;
        let heir = self.introduce(id).await?;
        self.renew().await?;
        let epoch = self.tenure.epoch();
        tracing::info!(epoch, "handing over to node {id:016x}");
        self.env.desk.phase(Phase::Frozen { epoch, heir: id });
        if let Err(trouble) = self.env.node.freeze(FREEZE_WITHIN).await {
            return aborted(trouble);
        }
        let now = self.env.now();
        // The lease store needs its time too, to be told and to be asked.
        let by = self
            .tenure
            .fence_at()
            .map(|at| at.saturating_sub(self.env.patience()))
            .map_or(now + DRAIN_WITHIN, |at| at.min(now + DRAIN_WITHIN));
        let drained = self.env.within(by, self.env.node.drain(id, by)).await;
        match drained {
            Some(Ok(())) => {}
            Some(Err(trouble)) => return self.thaw(trouble).await,
            None => {
                let why = format!("node {id:016x} has not acknowledged everything in time");
                return self.thaw(why).await;
            }
        }
        self.pass(id, &heir).await
    }

    /// Step 1: a candidate that is connected and close behind.
    async fn heir(&mut self, to: Option<u64>) -> Step<u64> {
        let env = self.env.clone();
        let by = self.by(env.now() + env.patience());
        match env.within(by, env.node.heir(to)).await {
            Some(Ok(id)) if id == env.me.node_id => aborted("this node is the primary already"),
            Some(Ok(id)) => Ok(id),
            Some(Err(trouble)) => aborted(trouble),
            None => aborted("this node does not tell in time who could take over"),
        }
    }

    /// It needs a session of its own, and the wish.
    async fn introduce(&mut self, id: u64) -> Step<Heir> {
        let env = self.env.clone();
        let by = self.by(env.now() + env.patience());
        let survey = match env.answer_by(by, env.leaser.survey()).await {
            Ok(survey) => survey,
            Err(error) => return aborted(error.to_string()),
        };
        let found = survey
            .posts
            .into_iter()
            .find(|(post, _)| post.node_id == id);
        let Some((post, session)) = found else {
            return aborted(format!(
                "node {id:016x} has no session in the lease store: it is no candidate, or it does not reach the store"
            ));
        };
        if !post.willing {
            return aborted(format!(
                "node {id:016x} does not want to be the primary now"
            ));
        }
        let Some(epoch) = self.tenure.epoch().checked_add(1) else {
            return aborted(Error::LastEpoch(self.tenure.epoch()).to_string());
        };
        let record = Record {
            hostname: post.hostname,
            advertise_url: post.advertise_url,
            node_id: id,
            // The heir's own renewal tells of its machine, and that it has taken over: nothing else has this number.
            boot_id: String::new(),
            n: 0,
            epoch,
            ..self.tenure.record.clone()
        };
        Ok(Heir { session, record })
    }

    /// Step 2: there is a whole TTL for the rest.
    async fn renew(&mut self) -> Step<()> {
        match self.renew_once().await? {
            true => Ok(()),
            false => aborted("the lease could not be renewed"),
        }
    }

    /// Renews, whatever the answers. `false`: it is not known whether it was carried out, and the lease holds still.
    async fn renew_once(&mut self) -> Step<bool> {
        let env = self.env.clone();
        let by = self.by(env.now() + env.patience());
        let record = env.write(self.tenure.epoch(), &self.tenure.record.cluster_id);
        self.tenure.sending(record.clone(), env.now());
        let renewal = env.leaser.renew(self.tenure.version, &record);
        match env.answer_by(by, renewal).await {
            Ok(Outcome::Done(version)) => {
                self.tenure.renewed(record.n, version);
                self.extend();
                return Ok(true);
            }
            Ok(Outcome::Refused) => {
                self.tenure.refused(record.n);
                if !self.tenure.is_unsure() {
                    return lost("a renewal was refused");
                }
            }
            Err(_) => {}
        }
        Ok(match self.read().await {
            Some(seen) => match self.tenure.witness(&seen) {
                Sight::Held => false,
                Sight::Renewed => {
                    self.extend();
                    true
                }
                Sight::Lost(why) => return lost(&why),
            },
            None => false,
        })
    }

    async fn read(&mut self) -> Option<Seen> {
        let env = self.env.clone();
        let by = self.by(env.now() + env.patience());
        env.answer_by(by, env.leaser.read()).await.ok()
    }

    /// That moment, or the one at which fencing begins.
    fn by(&self, at: Duration) -> Duration {
        self.tenure.fence_at().map_or(at, |fence| fence.min(at))
    }

    fn is_over(&self) -> bool {
        let now = self.env.now();
        self.tenure.fence_at().is_some_and(|at| now >= at)
    }

    /// It came to nothing: applications go on, if the lease still holds.
    async fn thaw(&mut self, why: Trouble) -> Step<Handover> {
        if self.is_over() {
            return too_late();
        }
        self.env.node.thaw().await;
        aborted(why)
    }

    /// Step 5: from session to session, in one transaction.
    async fn pass(&mut self, id: u64, heir: &Heir) -> Step<Handover> {
        if self.is_over() {
            return too_late();
        }
        let env = self.env.clone();
        let by = self.by(env.now() + env.patience());
        let pass = env
            .leaser
            .pass(self.tenure.version, &heir.session, &heir.record);
        match env.answer_by(by, pass).await {
            Ok(Outcome::Done(_)) => Ok(Handover::Done(id)),
            Ok(Outcome::Refused) => self.frozen(id, heir, "the lease store refused it").await,
            Err(error) => self.frozen(id, heir, &error.to_string()).await,
        }
    }

    /// Whether it was passed is not known: nobody commits until it is.
    async fn frozen(&mut self, id: u64, heir: &Heir, why: &str) -> Step<Handover> {
        tracing::warn!(
            epoch = self.tenure.epoch(),
            "it is not known whether the lease was handed over ({why}): looking"
        );
        while !self.is_over() {
            if let Some(seen) = self.read().await
                && let Holder::Node(record, _) = &seen.holder
                && (record.node_id, record.epoch) == (id, heir.record.epoch)
            {
                return Ok(Handover::Done(id));
            }
            // A renewal that succeeds: the lease was not passed, and will not be, its version being another one now.
            if self.renew_once().await? {
                return self.thaw(why.to_owned()).await;
            }
            let env = self.env.clone();
            env.clock.until(self.by(env.now() + RETRY)).await;
        }
        too_late()
    }
}
