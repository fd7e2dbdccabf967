//! Taking the lease: by election, and when it is handed over.

use std::time::Duration;

use super::Member;
use super::env::{Cancelled, Slot};
use super::rules::{self, Applicant, Refusal};
use super::seek::{Next, Won, candidacy, watch};
use super::status::Phase;
use super::tenure::Tenure;
use crate::error::Error;
use crate::leaser::{Holder, Outcome, SessionId, Survey, Version};
use crate::node::{Holdings, Term};
use crate::record::{Positions, Post, Record};

/// For how long the posts of the other candidates are waited for.
const POSTS_WITHIN: Duration = Duration::from_millis(300);

/// How often it is looked for them: a lease store tells of changes of the record only.
const LOOK_FOR_POSTS: Duration = Duration::from_millis(30);

/// By how much a candidate lets each better one go first.
const PER_RANK: Duration = Duration::from_millis(500);

/// More is not waited for, however many are better.
const MOST_RANKS: u32 = 10;

/// A refusal without a change of the record (a lock-delay in Consul, of whose end nobody tells): tried again after this.
const AFTER_REFUSAL: Duration = Duration::from_millis(250);

/// What a candidate goes by when it has the right to act.
struct Mandate {
    survey: Survey,
    ahead: Vec<Post>,
}

/// Why an election goes no further.
enum Halt {
    Next(Next),
    Cancelled(Cancelled),
}

impl From<Cancelled> for Halt {
    fn from(cancelled: Cancelled) -> Halt {
        Halt::Cancelled(cancelled)
    }
}

impl Member {
    /// The record is vacant, expired or this node's own: takes the lease, if it may. `alone`: no other candidate may
    /// act yet, so that none is waited for.
    pub(super) async fn elect(&mut self, alone: bool) -> Result<Next, Cancelled> {
        match self.stand(alone).await {
            Ok(next) | Err(Halt::Next(next)) => Ok(next),
            Err(Halt::Cancelled(cancelled)) => Err(cancelled),
        }
    }

    async fn stand(&mut self, alone: bool) -> Result<Next, Halt> {
        let Some(holdings) = self.holdings().await? else {
            return Ok(self.in_a_while());
        };
        let session = self.own_session().await?;
        let survey = self.same_survey().await?;
        let eligible = self.eligible(&holdings, &survey);
        if self.env.traits.movable && (!alone || eligible.is_err()) {
            self.post(&holdings, &session).await?;
        }
        if let Err(refusal) = eligible {
            return Ok(self.refused(&refusal, &session, &survey).await);
        }
        self.env.desk.phase(Phase::Electing);
        let mandate = if alone {
            Mandate {
                survey,
                ahead: Vec::new(),
            }
        } else {
            self.ballot(&holdings, &session).await?
        };
        self.acquire(mandate, &holdings, session).await
    }

    fn in_a_while(&self) -> Next {
        Next::Wait(Some(self.env.now() + self.env.config.reconnect_delay))
    }

    async fn own_session(&mut self) -> Result<SessionId, Halt> {
        if !self.env.traits.movable {
            return Ok(SessionId::default());
        }
        match self.env.ask(self.env.leaser.session()).await? {
            Ok(session) => {
                self.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => Err(self.halt(&error)),
        }
    }

    /// What goes wrong with the lease store in an election.
    fn halt(&mut self, error: &Error) -> Halt {
        if *error == Error::SessionGone {
            self.session = None;
            self.posted = None;
            return Halt::Next(Next::Look);
        }
        Halt::Next(self.later(error))
    }

    /// Everything, if the record is in the state that is known.
    async fn same_survey(&mut self) -> Result<Survey, Halt> {
        match self.env.ask(self.env.leaser.survey()).await? {
            Ok(survey) if self.note(survey.seen.clone()) => Err(Halt::Next(Next::Look)),
            Ok(survey) => Ok(survey),
            Err(error) => Err(self.halt(&error)),
        }
    }

    fn eligible(&self, holdings: &Holdings, survey: &Survey) -> Result<(), Refusal> {
        if let Some(why) = self.unwilling(self.env.now()) {
            return Err(Refusal::Waits(why.to_owned()));
        }
        let own_record = matches!(&survey.seen.holder,
            Holder::Node(record, _) if record.node_id == self.env.me.node_id);
        let own_term = match (self.last_term, survey.last_epoch) {
            (Some(own), Some(kept)) => own.epoch == kept.epoch,
            _ => false,
        };
        let applicant = Applicant {
            me: &self.env.me,
            holdings,
            forced: self.forced,
            was_last: own_record || own_term,
        };
        rules::eligibility(&applicant, survey)
    }

    /// Says why, and when to try again.
    async fn refused(&mut self, refusal: &Refusal, session: &SessionId, survey: &Survey) -> Next {
        let why = refusal.to_string();
        self.env.desk.refuses(&why);
        self.wait_for(&why);
        if let Holder::Node(record, Some(holder)) = &survey.seen.holder
            && holder == session
            && record.node_id == self.env.me.node_id
        {
            // Taken and not known of: nobody leads under it, and the others need not wait for it to end.
            let _ = self.env.answer(self.env.leaser.release(record)).await;
        }
        if let Refusal::OtherCluster { .. } = refusal {
            self.stand_by(&why).await;
        }
        self.in_a_while()
    }

    /// Posts for the state of the record that is known.
    async fn post(&mut self, holdings: &Holdings, session: &SessionId) -> Result<(), Halt> {
        let ballot = self
            .known
            .as_ref()
            .map_or(Version::default(), |known| known.seen.version);
        let willing = self.unwilling(self.env.now()).is_none();
        let post = candidacy(&self.env, holdings, ballot, self.seen_epoch, willing);
        if self.posted.as_ref() == Some(session) && self.last_post.as_ref() == Some(&post) {
            return Ok(());
        }
        match self.env.ask(self.env.leaser.post(&post)).await? {
            Ok(()) => {
                self.posted = Some(session.clone());
                self.last_post = Some(post);
                Ok(())
            }
            // The lock-delay of the last session is not over: the others do without.
            Err(Error::Answer(why)) => {
                tracing::debug!("no post: {why}");
                Ok(())
            }
            Err(error) => Err(self.halt(&error)),
        }
    }

    /// Waits for the posts of the others, then for those that go first.
    async fn ballot(&mut self, holdings: &Holdings, session: &SessionId) -> Result<Mandate, Halt> {
        let by = self.env.now() + POSTS_WITHIN;
        let mut survey = self.same_survey().await?;
        while !rules::all_answered(&survey) && self.env.now() < by {
            self.env.pause(LOOK_FOR_POSTS).await?;
            survey = self.same_survey().await?;
        }
        let known = survey.seen.version;
        let own = candidacy(&self.env, holdings, known, self.seen_epoch, true);
        let rank = rules::rank(&own, &rules::rivals(&survey, self.env.me.node_id));
        if rank > 0 {
            let ranks = u32::try_from(rank).unwrap_or(MOST_RANKS).min(MOST_RANKS);
            tracing::debug!(rank, "other candidates go first");
            self.let_go_first(PER_RANK * ranks, known).await?;
            survey = self.same_survey().await?;
        }
        if let Err(refusal) = self.eligible(holdings, &survey) {
            return Err(Halt::Next(self.refused(&refusal, session, &survey).await));
        }
        let answers = rules::answers(&survey, self.env.me.node_id);
        let ahead = rules::ahead(holdings, &answers);
        Ok(Mandate { survey, ahead })
    }

    /// Waits, unless the record changes.
    async fn let_go_first(&mut self, wait: Duration, known: Version) -> Result<(), Halt> {
        let by = self.env.now() + wait;
        let mut watching = Slot::empty();
        watching.start(watch(self.env.clone(), known, Duration::ZERO));
        loop {
            tokio::select! {
                biased;
                () = self.env.cancel.cancelled() => return Err(Cancelled.into()),
                seen = watching.next() => match seen {
                    Ok(seen) if self.note(seen.clone()) => return Err(Halt::Next(Next::Look)),
                    Ok(_) => watching.start(watch(self.env.clone(), known, Duration::ZERO)),
                    Err(error) => {
                        self.env.desk.outage(&self.env.leaser.describe(), &error);
                        let after = self.env.config.reconnect_delay;
                        watching.start(watch(self.env.clone(), known, after));
                    }
                },
                () = self.env.clock.until(by) => return Ok(()),
            }
        }
    }

    async fn acquire(
        &mut self,
        mandate: Mandate,
        holdings: &Holdings,
        session: SessionId,
    ) -> Result<Next, Halt> {
        let Mandate { survey, ahead } = mandate;
        let cluster_id = self.cluster_name(&survey, holdings).await?;
        // A static lease keeps no epoch beside it: there is nothing that it could have forgotten.
        let date = if self.env.traits.movable {
            self.env.clock.date()
        } else {
            0
        };
        let epoch = match rules::next_epoch(&survey, self.seen_epoch, holdings, date) {
            Ok(epoch) => epoch,
            Err(error) => {
                self.env.desk.refuses(&format!("not taking over: {error}"));
                return Ok(self.in_a_while());
            }
        };
        let record = self.env.write(epoch, &cluster_id);
        let sent = self.env.now();
        // To its end, also if the member is to end: what is taken is to be given up.
        let outcome = self
            .env
            .answer(self.env.leaser.acquire(&survey, &record))
            .await;
        let version = match outcome {
            Ok(Outcome::Done(version)) => Some(version),
            Ok(Outcome::Refused) => {
                self.same_survey().await?;
                return Ok(Next::Wait(Some(self.env.now() + AFTER_REFUSAL)));
            }
            Err(error) => self.resolve(&error, &record, &session, sent).await?,
        };
        let Some(version) = version else {
            return Ok(Next::Look);
        };
        let term = Term {
            epoch,
            cluster_id,
            handed_over: false,
            ahead,
        };
        // A forced node lacks what it lacks: it does not keep the next one from being elected.
        // Any other has it all, and asks anew: the last it published itself may have come after this survey.
        let published = self
            .forced
            .then(|| rules::what_is_here(&survey.positions, &holdings.positions));
        Ok(self.won(record, version, session, sent, term, published))
    }

    /// The name of the cluster. One that has none gets it here, before its first term.
    async fn cluster_name(&mut self, survey: &Survey, holdings: &Holdings) -> Result<String, Halt> {
        if let Some(name) = &survey.cluster_id {
            return Ok(name.clone());
        }
        let own = holdings.cluster_id.as_deref();
        let name = own.unwrap_or(&self.env.config.new_cluster_id).to_owned();
        if !self.env.traits.movable {
            return Ok(name);
        }
        match self.env.ask(self.env.leaser.name_cluster(&name)).await? {
            Ok(theirs) => match rules::same_cluster(own, Some(&theirs)) {
                Ok(()) => Ok(theirs),
                Err(refusal) => {
                    self.env.desk.refuses(&refusal.to_string());
                    Err(Halt::Next(self.in_a_while()))
                }
            },
            Err(error) => Err(self.halt(&error)),
        }
    }

    /// The answer to a change is lost: whether this very record is there. If so, it was written after `sent`.
    async fn resolve(
        &mut self,
        error: &Error,
        record: &Record,
        session: &SessionId,
        sent: Duration,
    ) -> Result<Option<Version>, Halt> {
        tracing::debug!(%error, epoch = record.epoch, "no answer: looking whether the lease was taken");
        let by = self
            .tenure(record, Version::default(), session, sent)
            .fence_at();
        loop {
            match self.env.ask(self.env.leaser.read()).await? {
                Ok(seen) => {
                    let mine = Holder::Node(record.clone(), Some(session.clone()));
                    let version = seen.version;
                    if seen.holder == mine {
                        return Ok(Some(version));
                    }
                    self.note(seen);
                    return Ok(None);
                }
                Err(error) => {
                    self.env.desk.outage(&self.env.leaser.describe(), &error);
                    if by.is_none_or(|by| self.env.now() >= by) {
                        return Ok(None);
                    }
                    self.env.pause(AFTER_REFUSAL).await?;
                }
            }
        }
    }

    fn tenure(
        &self,
        record: &Record,
        version: Version,
        session: &SessionId,
        sent: Duration,
    ) -> Tenure {
        let (ttl, margin) = (self.env.traits.ttl, self.env.config.margin);
        Tenure::new(record.clone(), version, session.clone(), sent, ttl, margin)
    }

    fn won(
        &mut self,
        record: Record,
        version: Version,
        session: SessionId,
        sent: Duration,
        term: Term,
        published: Option<Positions>,
    ) -> Next {
        self.seen_epoch = self.seen_epoch.max(record.epoch);
        let tenure = self.tenure(&record, version, &session, sent);
        Next::Lead(Box::new(Won {
            tenure,
            term,
            published,
            forced: self.forced,
        }))
    }

    /// The primary before has handed over to this node: makes the lease its own by a renewal.
    pub(super) async fn adopt(&mut self, passed: Record) -> Result<Next, Cancelled> {
        match self.take_over_from_hand(passed).await {
            Ok(next) | Err(Halt::Next(next)) => Ok(next),
            Err(Halt::Cancelled(cancelled)) => Err(cancelled),
        }
    }

    async fn take_over_from_hand(&mut self, passed: Record) -> Result<Next, Halt> {
        let (Some(known), Some(session)) = (&self.known, self.session.clone()) else {
            return Ok(Next::Look);
        };
        let over = known.seen.version;
        let record = self.env.write(passed.epoch, &passed.cluster_id);
        let sent = self.env.now();
        // To its end, as in an election.
        let outcome = self.env.answer(self.env.leaser.renew(over, &record)).await;
        let version = match outcome {
            Ok(Outcome::Done(version)) => Some(version),
            Ok(Outcome::Refused) => {
                self.same_survey().await?;
                self.session = None; // It may be gone: asked for anew before anything else is done in its name.
                return Ok(Next::Wait(Some(self.env.now() + AFTER_REFUSAL)));
            }
            Err(error) => self.resolve(&error, &record, &session, sent).await?,
        };
        let Some(version) = version else {
            return Ok(Next::Look);
        };
        let term = Term {
            epoch: passed.epoch,
            cluster_id: passed.cluster_id,
            handed_over: true,
            ahead: Vec::new(),
        };
        Ok(self.won(record, version, session, sent, term, None))
    }
}
