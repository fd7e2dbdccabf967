//! Looking for the primary, and following it.

use std::time::Duration;

use super::env::{Cancelled, Env};
use super::handle::Order;
use super::status::Phase;
use super::tenure::Tenure;
use super::{Known, Member, Vacant, rules};
use crate::error::Error;
use crate::leaser::{Holder, Seen, SessionId, Survey, Version};
use crate::node::{Holdings, Term};
use crate::record::{Positions, Post, Record};

/// A session in the lease store is kept at least that often.
const KEEP_EVERY: Duration = Duration::from_secs(3);

/// A node that cannot tell what it has by then cannot be elected.
const HOLDINGS_WITHIN: Duration = Duration::from_secs(10);

/// What to do next.
pub(super) enum Next {
    /// The lease is held.
    Lead(Box<Won>),
    /// Look at the record again.
    Look,
    /// Wait for a change; at the latest look again then.
    Wait(Option<Duration>),
}

/// A lease that was taken.
pub(super) struct Won {
    pub(super) tenure: Tenure,
    pub(super) term: Term,
    /// What the primary before published, as far as this node has it; `None`: not asked for, and it has all of it.
    pub(super) published: Option<Positions>,
    /// By an operator's force: it may lack what is published.
    pub(super) forced: bool,
}

/// Whether two records are of the same term at the same address.
fn same_term(one: &Record, other: &Record) -> bool {
    let key = |record: &Record| (record.node_id, record.epoch, record.advertise_url.clone());
    key(one) == key(other)
}

/// What became of the session and the post.
pub(super) enum Kept {
    /// The session, and whether the post is under it.
    Session(SessionId, bool),
    Gone,
    Failed(Error),
}

impl Member {
    /// Ends when this node holds the lease.
    pub(super) async fn seek(&mut self) -> Result<Won, Cancelled> {
        loop {
            match self.turn().await? {
                Next::Lead(won) => return Ok(*won),
                Next::Look => {}
                Next::Wait(until) => self.attend(until).await?,
            }
        }
    }

    /// Does what the record asks for.
    async fn turn(&mut self) -> Result<Next, Cancelled> {
        let Some(known) = &self.known else {
            return self.first_look().await;
        };
        let received = known.received;
        match known.seen.holder.clone() {
            Holder::Vacant => self.at_vacancy().await,
            Holder::Foreign(what) => {
                let why = format!("{what}: waiting until it is free");
                self.stand_by(&why).await;
                self.env.desk.refuses(&why);
                Ok(Next::Wait(None))
            }
            Holder::Node(record, session) => {
                if self.is_passed(&record, session.as_ref()) {
                    return self.adopt(record).await;
                }
                if self.is_own(&record, session.as_ref()) {
                    return self.elect(true).await;
                }
                if record.node_id == self.env.me.node_id {
                    self.stand_by(
                        "the lease to end, which this node held before its machine started anew",
                    )
                    .await;
                    return self.until_it_expires(&record, received, None).await;
                }
                let again = self.regard(&record).await?;
                self.until_it_expires(&record, received, again).await
            }
        }
    }

    async fn first_look(&mut self) -> Result<Next, Cancelled> {
        match self.env.ask(self.env.leaser.read()).await? {
            Ok(seen) => {
                self.note(seen);
                Ok(Next::Look)
            }
            Err(error) => Ok(self.later(&error)),
        }
    }

    async fn until_it_expires(
        &mut self,
        record: &Record,
        received: Duration,
        again: Option<Duration>,
    ) -> Result<Next, Cancelled> {
        if record.ttl_ms == 0 || !self.env.me.candidate || !self.env.traits.movable {
            return Ok(Next::Wait(again));
        }
        let expires = received + Duration::from_millis(record.ttl_ms);
        if self.env.now() < expires {
            return Ok(Next::Wait(Some(
                again.map_or(expires, |again| again.min(expires)),
            )));
        }
        self.elect(false).await
    }

    /// Handed over to this node by the primary before it: no acquisition begins with that number.
    fn is_passed(&self, record: &Record, session: Option<&SessionId>) -> bool {
        record.n == 0
            && record.node_id == self.env.me.node_id
            && session.is_some()
            && session == self.session.as_ref()
    }

    /// Left by a process of this node that is dead, or taken by this one with an answer that was lost: nobody leads
    /// under it.
    fn is_own(&self, record: &Record, session: Option<&SessionId>) -> bool {
        let own_session = session.is_some() && session == self.session.as_ref();
        let own_machine = !record.boot_id.is_empty() && record.boot_id == self.env.me.boot_id;
        // Handed over, and nobody of this node has ever renewed it.
        let untouched = record.n == 0;
        record.node_id == self.env.me.node_id && (own_session || own_machine || untouched)
    }

    /// Follows that primary, or says why not. When to look again.
    async fn regard(&mut self, record: &Record) -> Result<Option<Duration>, Cancelled> {
        if let Some(primary) = self
            .following
            .as_ref()
            .filter(|whom| same_term(whom, record))
        {
            self.env.desk.phase(Phase::Follower {
                primary: primary.clone(),
            });
            return Ok(None);
        }
        let again = Some(self.env.now() + self.env.config.reconnect_delay);
        let Some(holdings) = self.holdings().await? else {
            return Ok(again);
        };
        if let Err(why) = self.may_follow(record, &holdings) {
            self.env.desk.refuses(&why);
            self.stand_by(&why).await;
            return Ok(again);
        }
        self.asking.stop();
        if let Err(trouble) = self.env.node.follow(record).await {
            let why = format!("cannot follow {}: {trouble}", record.hostname);
            self.env.desk.refuses(&why);
            self.stand_by(&why).await;
            return Ok(again);
        }
        tracing::info!(
            epoch = record.epoch,
            node = format_args!("{:016x}", record.node_id),
            hostname = record.hostname,
            "following {}",
            record.advertise_url
        );
        self.env.desk.content();
        self.following = Some(record.clone());
        self.env.desk.phase(Phase::Follower {
            primary: record.clone(),
        });
        Ok(None)
    }

    fn may_follow(&self, record: &Record, holdings: &Holdings) -> Result<(), String> {
        let theirs = Some(record.cluster_id.as_str()).filter(|id| !id.is_empty());
        rules::same_cluster(holdings.cluster_id.as_deref(), theirs)
            .map_err(|refusal| refusal.to_string())?;
        let seen = self.seen_epoch.max(holdings.seen_epoch);
        if self.env.traits.movable && record.epoch < seen {
            return Err(format!(
                "not following node {:016x} ({}): its epoch {} is lower than {seen}, which this node has seen; the \
                 lease store has been emptied or set back: waiting for the next election (a handoff or a demotion of \
                 that node begins one)",
                record.node_id, record.hostname, record.epoch
            ));
        }
        Ok(())
    }

    /// The lease is vacant: when and how it may be taken.
    async fn at_vacancy(&mut self) -> Result<Next, Cancelled> {
        if !self.env.me.candidate {
            self.wait_for("a primary: there is none");
            return Ok(Next::Wait(None));
        }
        let Some(holdings) = self.holdings().await? else {
            let again = self.env.now() + self.env.config.reconnect_delay;
            return Ok(Next::Wait(Some(again)));
        };
        let survey = match self.env.ask(self.env.leaser.survey()).await? {
            Ok(survey) => survey,
            Err(error) => return Ok(self.later(&error)),
        };
        if self.note(survey.seen.clone()) {
            return Ok(Next::Look);
        }
        if !self.env.traits.movable {
            return self.elect(true).await;
        }
        // A session that lives since then: the store was not emptied in between, and taken, and emptied again.
        let session = match self.env.ask(self.env.leaser.session()).await? {
            Ok(session) => session,
            Err(Error::SessionGone) => {
                self.session = None;
                self.posted = None;
                self.vacant = None;
                return Ok(Next::Look);
            }
            Err(error) => return Ok(self.later(&error)),
        };
        self.session = Some(session.clone());
        let since = self.vacant_since(&survey, session);
        let now = self.env.now();
        let ttl = self.env.traits.ttl.unwrap_or_default();
        let (me, cluster) = (self.env.me.node_id, holdings.cluster_id.as_deref());
        match rules::vacancy(&survey, cluster, me, self.last_term, now, ttl) {
            rules::Vacancy::Now => self.elect(false).await,
            rules::Vacancy::Own => self.elect(true).await,
            rules::Vacancy::After(wait) if now >= since + wait => self.elect(false).await,
            rules::Vacancy::After(wait) => {
                self.wait_for("the last primary's lease to end, which was not given up");
                Ok(Next::Wait(Some(since + wait)))
            }
        }
    }

    /// Since when nobody can have taken the lease: every acquisition changes the epoch that is kept beside it.
    fn vacant_since(&mut self, survey: &Survey, session: SessionId) -> Duration {
        let (record, epoch) = (survey.seen.version, survey.epoch_version);
        match &self.vacant {
            Some(vacant)
                if (vacant.record, vacant.epoch) == (record, epoch)
                    && vacant.session == session =>
            {
                vacant.since
            }
            _ => {
                let since = self.env.now();
                self.vacant = Some(Vacant {
                    record,
                    epoch,
                    session,
                    since,
                });
                since
            }
        }
    }

    /// Waits for a change of the record, an order or that moment, and keeps session and post meanwhile.
    async fn attend(&mut self, until: Option<Duration>) -> Result<(), Cancelled> {
        let env = self.env.clone();
        let mut watching = super::env::Slot::empty();
        loop {
            if watching.is_empty() && env.traits.movable {
                watching.start(watch(env.clone(), self.version(), Duration::ZERO));
            }
            self.start_chores();
            let chores = self.next_chore();
            tokio::select! {
                biased;
                () = env.cancel.cancelled() => return Err(Cancelled),
                seen = watching.next() => match seen {
                    Ok(seen) => if self.note(seen) {
                        return Ok(());
                    },
                    Err(error) => {
                        env.desk.outage(&env.leaser.describe(), &error);
                        watching.start(watch(env.clone(), self.version(), env.config.reconnect_delay));
                    }
                },
                kept = self.keeping.next() => self.kept(kept),
                asked = self.asking.next() => self.asked(asked),
                Some(order) = self.orders.recv() => if self.obey(order) {
                    return Ok(());
                },
                () = env.until(until) => return Ok(()),
                () = env.until(chores) => {}
            }
        }
    }

    fn version(&self) -> Version {
        self.known
            .as_ref()
            .map_or(Version::default(), |known| known.seen.version)
    }

    /// An order to a node that does not lead. Whether there is something to do.
    fn obey(&mut self, order: Order) -> bool {
        let forced = matches!(order, Order::Force { .. });
        let answer = if forced {
            tracing::warn!("an operator has made this node eligible for the next election");
            self.forced = true;
            self.unwilling = None;
            self.env.desk.forced(true);
            Ok(())
        } else {
            Err("this node is not the primary".to_owned())
        };
        // Whoever asked may have gone.
        let _ = order.reply().send(answer);
        forced
    }

    // Session, post, the wish to lead.

    fn start_chores(&mut self) {
        let now = self.env.now();
        let takes_part = self.env.traits.movable && self.env.me.candidate;
        if takes_part && self.keeping.is_empty() && now >= self.keep_at {
            self.keep_at = now + KEEP_EVERY;
            let post = self.posted.is_none() || self.posted != self.session;
            let (ballot, seen) = (self.version(), self.seen_epoch);
            let willing = self.unwilling(now).is_none();
            self.keeping.start(keep(
                self.env.clone(),
                post,
                self.posted.clone(),
                ballot,
                seen,
                willing,
            ));
        }
        let due = self.ask_at.is_some_and(|at| now >= at);
        if takes_part
            && due
            && self.asking.is_empty()
            && let Some(record) = self.following.clone()
        {
            let node = self.env.node.clone();
            self.asking
                .start(async move { node.ask_for_handoff(&record).await });
        }
    }

    /// When a chore is due that does not go on already.
    fn next_chore(&self) -> Option<Duration> {
        let takes_part = self.env.traits.movable && self.env.me.candidate;
        let keep = Some(self.keep_at).filter(|_| takes_part && self.keeping.is_empty());
        let ask = self
            .ask_at
            .filter(|_| takes_part && self.asking.is_empty() && self.following.is_some());
        keep.into_iter().chain(ask).min()
    }

    fn kept(&mut self, kept: Kept) {
        let store = self.env.leaser.describe();
        match kept {
            Kept::Session(session, posted) => {
                self.env.desk.answered(&store);
                if posted {
                    self.posted = Some(session.clone());
                } else if self.posted.as_ref() != Some(&session) {
                    self.keep_at = self.env.now() + self.env.config.reconnect_delay;
                }
                self.session = Some(session);
            }
            Kept::Gone => {
                tracing::info!("the session in {store} is gone: another one is made");
                self.session = None;
                self.posted = None;
                self.keep_at = self.env.now();
            }
            Kept::Failed(error) => {
                self.env.desk.outage(&store, &error);
                self.keep_at = self.env.now() + self.env.config.reconnect_delay;
            }
        }
    }

    fn asked(&mut self, asked: Result<(), String>) {
        match asked {
            Ok(()) => self.ask_at = None,
            Err(why) => {
                let why =
                    format!("lease.promote: the primary does not hand over to this node: {why}");
                self.env.desk.refuses(&why);
                self.ask_at = Some(self.env.now() + self.env.config.reconnect_delay);
            }
        }
    }

    // What several parts need.

    /// Notes a state of the record. Whether it is another than before.
    pub(super) fn note(&mut self, seen: Seen) -> bool {
        self.env.desk.answered(&self.env.leaser.describe());
        if self.known.as_ref().is_some_and(|known| known.seen == seen) {
            return false;
        }
        if let Holder::Node(record, _) = &seen.holder {
            self.vacant = None;
            if self.forced
                && record.epoch > self.seen_epoch
                && record.node_id != self.env.me.node_id
            {
                // The next election has been, and another node has won it.
                self.forced = false;
                self.env.desk.forced(false);
            }
            self.seen_epoch = self.seen_epoch.max(record.epoch);
        }
        self.env.desk.seen(&seen);
        self.known = Some(Known {
            seen,
            received: self.env.now(),
        });
        true
    }

    /// The lease store did not answer.
    pub(super) fn later(&self, error: &Error) -> Next {
        self.env.desk.outage(&self.env.leaser.describe(), error);
        Next::Wait(Some(self.env.now() + self.env.config.reconnect_delay))
    }

    /// What the node has; `None`: it does not say in time.
    pub(super) async fn holdings(&mut self) -> Result<Option<Holdings>, Cancelled> {
        // One call of the node at a time.
        self.keeping.stop();
        let by = self.env.now() + HOLDINGS_WITHIN;
        let holdings = tokio::select! {
            biased;
            () = self.env.cancel.cancelled() => return Err(Cancelled),
            holdings = self.env.within(by, self.env.node.holdings()) => holdings,
        };
        if holdings.is_none() {
            self.env.desk.refuses(
                "neither following nor taking over: the state of the databases cannot be read in time; trying again",
            );
        }
        Ok(holdings)
    }

    /// Why the node does not want to be elected now.
    pub(super) fn unwilling(&self, now: Duration) -> Option<&str> {
        let (until, why) = self.unwilling.as_ref()?;
        (now < *until).then_some(why)
    }

    /// Follows nobody, and says why.
    pub(super) async fn stand_by(&mut self, why: &str) {
        let waiting = Phase::Waiting {
            why: why.to_owned(),
        };
        if self.env.desk.shows(&waiting) && self.following.is_none() {
            return;
        }
        self.wait_for(why);
        self.following = None;
        self.keeping.stop();
        self.asking.stop();
        self.env.node.stand_by(why).await;
    }

    pub(super) fn wait_for(&self, why: &str) {
        self.env.desk.phase(Phase::Waiting {
            why: why.to_owned(),
        });
    }
}

/// The next state of the record after `known`, watched for after a while.
pub(super) async fn watch(env: Env, known: Version, after: Duration) -> Result<Seen, Error> {
    env.clock.until(env.now() + after).await;
    let wait = env.traits.ttl.unwrap_or(KEEP_EVERY);
    let by = env.now() + wait + env.patience();
    env.answer_by(by, env.leaser.watch(known, wait)).await
}

/// Keeps the session, and posts if there is no post under it.
async fn keep(
    env: Env,
    mut post: bool,
    posted: Option<SessionId>,
    ballot: Version,
    seen: u64,
    willing: bool,
) -> Kept {
    let session = match env.answer(env.leaser.session()).await {
        Ok(session) => session,
        Err(Error::SessionGone) => return Kept::Gone,
        Err(error) => return Kept::Failed(error),
    };
    post |= posted.as_ref() != Some(&session);
    if !post {
        return Kept::Session(session, false);
    }
    let holdings = env.node.holdings().await;
    let post = candidacy(&env, &holdings, ballot, seen, willing);
    match env.answer(env.leaser.post(&post)).await {
        Ok(()) => Kept::Session(session, true),
        Err(Error::SessionGone) => Kept::Gone,
        Err(error) => {
            tracing::debug!(%error, "the post of this node is not there yet");
            Kept::Session(session, false)
        }
    }
}

/// What this node posts.
pub(super) fn candidacy(
    env: &Env,
    holdings: &Holdings,
    ballot: Version,
    seen: u64,
    willing: bool,
) -> Post {
    Post {
        node_id: env.me.node_id,
        hostname: env.me.hostname.clone(),
        advertise_url: env.me.advertise_url.clone(),
        epoch: holdings.epoch,
        seen_epoch: holdings.seen_epoch.max(seen),
        positions: holdings.positions.clone(),
        dropped: holdings.dropped.clone(),
        willing,
        ballot: ballot.0,
    }
}
