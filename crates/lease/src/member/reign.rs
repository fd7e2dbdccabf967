//! Leading: the lease is renewed, watched and, at the end, lost or given up.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Member;
use super::env::{Env, Slot};
use super::handle::{Order, Reply};
use super::handoff::Handover;
use super::rules::{self, LastTerm};
use super::seek::{Won, watch};
use super::status::Phase;
use super::tenure::{Sight, Tenure};
use crate::error::Error;
use crate::leaser::{Outcome, Seen, SessionId};
use crate::node::{Term, Trouble};
use crate::record::Positions;

/// A primary's session is kept at least that often.
const KEEP_EVERY: Duration = Duration::from_secs(3);

/// At most so often it is published what the primary has.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// What went wrong with the lease store is tried again after this time.
const RETRY: Duration = Duration::from_millis(100);

/// How a term ends.
pub(super) enum Ended {
    /// Somebody else holds the lease, or nobody.
    Lost(String),
    /// There was no renewal in time.
    Deadline,
    /// The node could not become the primary.
    LeadFailed(Trouble),
    /// The lease is another node's.
    HandedOver {
        to: u64,
        demoted: bool,
        reply: Option<Reply>,
    },
    /// It hands over if it can, and steps down if not.
    Demoted(Reply),
    /// The member is to end.
    Cancelled,
}

/// What was published, or refused.
struct Publication {
    positions: Positions,
    outcome: Outcome,
}

/// A term, from inside.
pub(super) struct Reign<'a> {
    pub(super) env: Env,
    pub(super) orders: &'a mut mpsc::Receiver<Order>,
    pub(super) tenure: Tenure,
    /// Whether the node leads; before that it is becoming the primary.
    pub(super) leads: bool,
    rising: Slot<Result<(), Trouble>>,
    renewing: Slot<(u64, Result<Outcome, Error>)>,
    renew_at: Option<Duration>,
    looking: Slot<Result<Seen, Error>>,
    watching: Slot<Result<Seen, Error>>,
    keeping: Slot<Result<SessionId, Error>>,
    keep_at: Duration,
    publishing: Slot<Result<Publication, Error>>,
    publish_at: Duration,
    /// What is published, or may be, of whichever term.
    published: Option<Positions>,
    /// Whether this term has published it.
    has_published: bool,
    /// Whether it publishes before it leads.
    publishes_early: bool,
}

impl Member {
    /// Leads until it does not any more; `Break`: the member is to end.
    pub(super) async fn reign(&mut self, won: Won) -> ControlFlow<()> {
        let env = self.env.clone();
        self.following = None;
        self.keeping.stop();
        self.asking.stop();
        self.ask_at = None;
        let mut reign = Reign::new(env.clone(), &mut self.orders, won.tenure, won.published);
        // What nobody has any more is not to keep the next node from being elected, if this one dies before it leads.
        // What an operator does without is given up only by a primary.
        reign.publishes_early = !won.forced;
        let mut ended = reign.run(won.term).await;
        if reign.leads && env.traits.movable {
            ended = reign.last_handover(ended).await;
        }
        let tenure = reign.tenure;
        say_why(&ended, tenure.epoch());
        env.node.fence(tenure.deadline()).await;
        tracing::info!(epoch = tenure.epoch(), "this node has stopped committing");
        self.after(ended, tenure).await
    }

    /// The node is fenced.
    async fn after(&mut self, ended: Ended, tenure: Tenure) -> ControlFlow<()> {
        let now = self.env.now();
        let mut last_term = LastTerm {
            epoch: tenure.epoch(),
            undisputed: tenure.deadline(),
        };
        // The record may be anything now.
        self.known = None;
        self.vacant = None;
        self.keep_at = now;
        self.posted = None;
        self.wait_for("this node is not the primary any more");
        let mut flow = ControlFlow::Continue(());
        match ended {
            Ended::Lost(_) | Ended::Deadline => {}
            Ended::HandedOver { demoted, reply, .. } => {
                last_term.undisputed = None;
                if demoted {
                    self.rest_after_demotion();
                }
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                if self.env.cancel.is_cancelled() {
                    flow = ControlFlow::Break(());
                }
            }
            Ended::LeadFailed(trouble) => {
                last_term.undisputed = None;
                let why =
                    format!("this node could not become the primary: {trouble}; trying again");
                let delay = self.env.config.reconnect_delay.max(PUBLISH_EVERY);
                self.unwilling = Some((now + delay, why));
                self.release(&tenure).await;
            }
            Ended::Demoted(reply) => {
                last_term.undisputed = None;
                self.release(&tenure).await;
                self.rest_after_demotion();
                let _ = reply.send(Ok(()));
            }
            Ended::Cancelled => {
                last_term.undisputed = None;
                self.release(&tenure).await;
                flow = ControlFlow::Break(());
            }
        }
        self.last_term = Some(last_term);
        flow
    }

    fn rest_after_demotion(&mut self) {
        let delay = self.env.config.demote_delay;
        let why = format!("this node was demoted, and does not take over for {delay:?}");
        self.unwilling = Some((self.env.now() + delay, why));
    }

    /// Gives the lease up: the others need not wait for it to end.
    async fn release(&mut self, tenure: &Tenure) {
        if !self.env.traits.movable {
            return;
        }
        for _ in 0..2 {
            match self
                .env
                .answer(self.env.leaser.release(&tenure.record))
                .await
            {
                Ok(_) => {
                    return;
                }
                Err(error) => tracing::debug!(%error, "the lease is not given up yet"),
            }
        }
        tracing::warn!("the lease could not be given up: the others wait until it ends");
    }
}

fn say_why(ended: &Ended, epoch: u64) {
    match ended {
        Ended::Lost(why) => tracing::warn!(epoch, "the lease is lost: {why}"),
        Ended::Deadline => {
            tracing::warn!(
                epoch,
                "the lease could not be renewed in time: stepping down"
            );
        }
        Ended::LeadFailed(trouble) => {
            tracing::error!(epoch, "this node cannot become the primary: {trouble}");
        }
        Ended::HandedOver { to, .. } => {
            tracing::info!(epoch, "the lease is handed over to node {to:016x}");
        }
        Ended::Demoted(_) => tracing::info!(epoch, "demoted: stepping down"),
        Ended::Cancelled => tracing::info!(epoch, "stopping: giving the lease up"),
    }
}

impl<'a> Reign<'a> {
    pub(super) fn new(
        env: Env,
        orders: &'a mut mpsc::Receiver<Order>,
        tenure: Tenure,
        published: Option<Positions>,
    ) -> Self {
        let now = env.now();
        Reign {
            renew_at: tenure.renew_at(),
            env,
            orders,
            tenure,
            leads: false,
            rising: Slot::empty(),
            renewing: Slot::empty(),
            looking: Slot::empty(),
            watching: Slot::empty(),
            keeping: Slot::empty(),
            keep_at: now + KEEP_EVERY,
            publishing: Slot::empty(),
            publish_at: now,
            published,
            has_published: false,
            publishes_early: false,
        }
    }

    /// Leads until the term ends. Then the node may still commit, until its deadline: it is to be fenced.
    async fn run(&mut self, term: Term) -> Ended {
        let epoch = term.epoch;
        tracing::info!(
            epoch,
            handed_over = term.handed_over,
            "this node holds the lease and becomes the primary"
        );
        self.env.desk.phase(Phase::Rising { epoch });
        self.env.node.extend(self.tenure.deadline());
        let node = self.env.node.clone();
        self.rising.start(async move { node.lead(&term).await });
        loop {
            if let Err(ended) = self.step().await {
                return ended;
            }
        }
    }

    /// One event. What ends the term comes first: nothing is begun after the deadline.
    async fn step(&mut self) -> Result<(), Ended> {
        self.start_what_is_due();
        let env = self.env.clone();
        let (fence_at, due) = (self.tenure.fence_at(), self.due());
        tokio::select! {
            biased;
            () = env.until(fence_at) => Err(Ended::Deadline),
            () = env.cancel.cancelled() => Err(Ended::Cancelled),
            (n, outcome) = self.renewing.next() => self.on_renewal(n, outcome),
            seen = self.looking.next() => self.on_look(seen),
            seen = self.watching.next() => self.on_watch(seen),
            led = self.rising.next() => self.on_lead(led),
            session = self.keeping.next() => self.on_session(session),
            done = self.publishing.next() => self.on_publication(done),
            Some(order) = self.orders.recv() => self.obey(order).await,
            () = env.until(due) => Ok(()),
        }
    }

    fn start_what_is_due(&mut self) {
        let now = self.env.now();
        if self.renew_at.is_some_and(|at| now >= at) && self.may_renew() {
            self.start_renewal();
        }
        if self.tenure.ttl.is_none() {
            return;
        }
        if self.watching.is_empty() {
            let going = watch(self.env.clone(), self.tenure.version, Duration::ZERO);
            self.watching.start(going);
        }
        if self.keeping.is_empty() && now >= self.keep_at {
            self.keep_at = now + KEEP_EVERY;
            let env = self.env.clone();
            self.keeping
                .start(async move { env.answer(env.leaser.session()).await });
        }
        if self.may_publish() && now >= self.publish_at {
            self.publish_at = now + PUBLISH_EVERY;
            self.publish();
        }
    }

    fn may_renew(&self) -> bool {
        self.renewing.is_empty() && self.looking.is_empty()
    }

    fn may_publish(&self) -> bool {
        (self.leads || self.publishes_early) && self.publishing.is_empty()
    }

    /// When something is to be started that is not going on.
    fn due(&self) -> Option<Duration> {
        self.tenure.ttl?;
        let renewal = self.renew_at.filter(|_| self.may_renew());
        let keep = Some(self.keep_at).filter(|_| self.keeping.is_empty());
        let publish = Some(self.publish_at).filter(|_| self.may_publish());
        renewal.into_iter().chain(keep).chain(publish).min()
    }

    fn start_renewal(&mut self) {
        let (env, over) = (self.env.clone(), self.tenure.version);
        let record = env.write(self.tenure.epoch(), &self.tenure.record.cluster_id);
        self.tenure.sending(record.clone(), env.now());
        self.renewing.start(async move {
            let outcome = env.answer(env.leaser.renew(over, &record)).await;
            (record.n, outcome)
        });
    }

    /// A renewal is certain: the node may go on.
    pub(super) fn extend(&mut self) {
        self.renew_at = self.tenure.renew_at();
        self.env.desk.answered(&self.env.leaser.describe());
        self.env.node.extend(self.tenure.deadline());
        if self.leads {
            self.show_primary();
        }
    }

    pub(super) fn show_primary(&self) {
        self.env.desk.phase(Phase::Primary {
            epoch: self.tenure.epoch(),
            deadline: self.tenure.deadline(),
        });
    }

    fn on_renewal(&mut self, n: u64, outcome: Result<Outcome, Error>) -> Result<(), Ended> {
        match outcome {
            Ok(Outcome::Done(version)) => {
                self.tenure.renewed(n, version);
                self.extend();
                Ok(())
            }
            Ok(Outcome::Refused) => {
                self.tenure.refused(n);
                if !self.tenure.is_unsure() {
                    return Err(Ended::Lost("a renewal was refused".to_owned()));
                }
                // One without an answer may have been carried out before this one.
                self.look(Duration::ZERO);
                Ok(())
            }
            Err(Error::SessionGone) => Err(Ended::Lost(Error::SessionGone.to_string())),
            Err(error) => {
                self.env.desk.outage(&self.env.leaser.describe(), &error);
                self.look(Duration::ZERO);
                Ok(())
            }
        }
    }

    fn look(&mut self, after: Duration) {
        let env = self.env.clone();
        self.looking.start(async move {
            env.clock.until(env.now() + after).await;
            env.answer(env.leaser.read()).await
        });
    }

    fn on_look(&mut self, seen: Result<Seen, Error>) -> Result<(), Ended> {
        match seen {
            Ok(seen) => {
                self.on_sight(&seen)?;
                // If it was not carried out it is tried again at once.
                self.renew_at = self.renew_at.map(|at| at.min(self.env.now()));
                Ok(())
            }
            Err(error) => {
                self.env.desk.outage(&self.env.leaser.describe(), &error);
                self.renew_at = self.renew_at.map(|_| self.env.now() + RETRY);
                Ok(())
            }
        }
    }

    fn on_watch(&mut self, seen: Result<Seen, Error>) -> Result<(), Ended> {
        match seen {
            Ok(seen) => self.on_sight(&seen),
            Err(error) => {
                tracing::debug!(%error, "the record is not watched");
                let going = watch(self.env.clone(), self.tenure.version, RETRY);
                self.watching.start(going);
                Ok(())
            }
        }
    }

    fn on_sight(&mut self, seen: &Seen) -> Result<(), Ended> {
        self.env.desk.seen(seen);
        match self.tenure.witness(seen) {
            Sight::Held => Ok(()),
            Sight::Renewed => {
                self.extend();
                Ok(())
            }
            Sight::Lost(why) => Err(Ended::Lost(why)),
        }
    }

    fn on_lead(&mut self, led: Result<(), Trouble>) -> Result<(), Ended> {
        led.map_err(Ended::LeadFailed)?;
        self.leads = true;
        self.publish_at = self.env.now();
        tracing::info!(epoch = self.tenure.epoch(), "this node is the primary");
        self.show_primary();
        Ok(())
    }

    fn on_session(&mut self, session: Result<SessionId, Error>) -> Result<(), Ended> {
        match session {
            Ok(session) if session == self.tenure.session => Ok(()),
            Ok(_) | Err(Error::SessionGone) => Err(Ended::Lost(Error::SessionGone.to_string())),
            Err(error) => {
                tracing::debug!(%error, "the session is not kept");
                self.keep_at = self.env.now() + RETRY;
                Ok(())
            }
        }
    }

    /// Publishes what has changed since it was last published.
    fn publish(&mut self) {
        let acknowledged = self.env.node.acknowledged();
        let before = self.published.clone();
        if let Some(before) = &before
            && self.has_published
            && *before == rules::to_publish(&acknowledged, before)
        {
            return;
        }
        // It counts as published even if there is no answer: what is published next is not to be less.
        let known = before.map(|before| rules::to_publish(&acknowledged, &before));
        self.published.clone_from(&known);
        self.has_published = false;
        let env = self.env.clone();
        self.publishing.start(async move {
            let positions = match known {
                Some(positions) => positions,
                None => {
                    let before = env.answer(env.leaser.survey()).await?.positions;
                    rules::to_publish(&acknowledged, &before)
                }
            };
            let outcome = env.answer(env.leaser.publish(&positions)).await?;
            Ok(Publication { positions, outcome })
        });
    }

    fn on_publication(&mut self, done: Result<Publication, Error>) -> Result<(), Ended> {
        match done {
            Ok(Publication { positions, outcome }) => {
                if outcome == Outcome::Refused {
                    return Err(Ended::Lost("what it published was refused".to_owned()));
                }
                self.published = Some(positions);
                self.has_published = true;
            }
            Err(error) => tracing::debug!(%error, "not published yet"),
        }
        Ok(())
    }

    async fn obey(&mut self, order: Order) -> Result<(), Ended> {
        let refusal = if matches!(order, Order::Force { .. }) {
            Some("this node is the primary already")
        } else if !self.env.traits.movable {
            Some("static lease does not support handoff")
        } else if !self.leads {
            Some("this node is becoming the primary, and cannot hand over yet")
        } else {
            None
        };
        if let Some(why) = refusal {
            let _ = order.reply().send(Err(why.to_owned()));
            return Ok(());
        }
        match order {
            Order::HandOff { to, reply } => self.hand_over_to(to, reply).await,
            Order::Demote { reply } => Err(Ended::Demoted(reply)),
            Order::Force { .. } => Ok(()),
        }
    }

    async fn hand_over_to(&mut self, to: Option<u64>, reply: Reply) -> Result<(), Ended> {
        match self.hand_over(to).await {
            Handover::Done(to) => Err(Ended::HandedOver {
                to,
                demoted: false,
                reply: Some(reply),
            }),
            Handover::Aborted(trouble) => {
                tracing::warn!(epoch = self.tenure.epoch(), "not handed over: {trouble}");
                let _ = reply.send(Err(trouble));
                self.show_primary();
                Ok(())
            }
            Handover::Ended(ended, why) => {
                let _ = reply.send(Err(why));
                Err(ended)
            }
        }
    }

    /// A term that ends by will, ends with a handoff if it can.
    async fn last_handover(&mut self, ended: Ended) -> Ended {
        let reply = match ended {
            Ended::Cancelled => None,
            Ended::Demoted(reply) => Some(reply),
            other => return other,
        };
        match (self.hand_over(None).await, reply) {
            (Handover::Done(to), reply) => Ended::HandedOver {
                to,
                demoted: reply.is_some(),
                reply,
            },
            (Handover::Aborted(why), reply) => {
                tracing::info!(epoch = self.tenure.epoch(), "handed over to nobody: {why}");
                reply.map_or(Ended::Cancelled, Ended::Demoted)
            }
            (Handover::Ended(..), Some(reply)) => Ended::Demoted(reply),
            (Handover::Ended(..), None) => Ended::Cancelled,
        }
    }

    /// What goes on beside is given up: a handoff has the lease store and the node for itself.
    pub(super) fn stop_the_rest(&mut self) {
        self.renewing.stop();
        self.looking.stop();
        self.watching.stop();
        self.keeping.stop();
        self.publishing.stop();
        self.renew_at = self.renew_at.map(|at| at.min(self.env.now()));
    }
}
