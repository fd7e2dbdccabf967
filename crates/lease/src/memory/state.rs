//! What a lease store holds and how it changes, without anything that waits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Error;
use crate::leaser::{Outcome, Seen, SessionId, Survey};
use crate::record::{LastEpoch, Positions, Post, Record};
use crate::stored;

/// The key that texts for people name.
const KEY: &str = "memory";

/// How the store treats sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A session ends when it was not renewed for so long.
    pub(super) session_ttl: Duration,
    /// What a session held when it ended cannot be locked again for so long.
    pub(super) lock_delay: Duration,
}

/// The value of the record and the session that locked it.
struct Entry {
    counter: u64,
    value: Vec<u8>,
    session: Option<SessionId>,
}

/// All of it. As in Consul every change is counted, and an absent key has no counter.
pub(super) struct State {
    rules: Rules,
    counter: u64,
    record: Option<Entry>,
    epoch: Option<(u64, LastEpoch)>,
    cluster_id: Option<String>,
    posts: BTreeMap<u64, (Post, SessionId)>,
    positions: Positions,
    /// By whom they were published, and his how many-th request that was.
    published: (SessionId, u64),
    /// When each session ends.
    sessions: BTreeMap<SessionIdOrd, Duration>,
    /// Until when the record cannot be locked.
    record_delay: Duration,
    /// The same of posts.
    post_delay: BTreeMap<u64, Duration>,
    /// Sessions that there ever were.
    made: u64,
}

/// Session ids in the order of their texts.
type SessionIdOrd = String;

impl State {
    pub(super) fn new(rules: Rules) -> State {
        State {
            rules,
            counter: 1,
            record: None,
            epoch: None,
            cluster_id: None,
            posts: BTreeMap::new(),
            positions: Positions::new(),
            published: (SessionId::default(), 0),
            sessions: BTreeMap::new(),
            record_delay: Duration::ZERO,
            post_delay: BTreeMap::new(),
            made: 0,
        }
    }

    /// Forgets everything, sessions too; counters begin anew, as in a Consul that was rebuilt.
    pub(super) fn wipe(&mut self) {
        let made = self.made;
        *self = State::new(self.rules);
        self.made = made;
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    // Sessions.

    /// The moment at which the next session ends if nobody renews it.
    pub(super) fn next_end(&self) -> Option<Duration> {
        self.sessions.values().min().copied()
    }

    /// Ends the sessions whose time has come.
    pub(super) fn expire(&mut self, now: Duration) {
        let over: Vec<String> = self
            .sessions
            .iter()
            .filter(|(_, end)| **end <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.end_session(&SessionId(id), now);
        }
    }

    pub(super) fn new_session(&mut self, now: Duration) -> SessionId {
        self.made += 1;
        let id = format!("session-{}", self.made);
        self.sessions
            .insert(id.clone(), now + self.rules.session_ttl);
        SessionId(id)
    }

    /// Whether it was still there.
    pub(super) fn renew_session(&mut self, id: &SessionId, now: Duration) -> bool {
        let end = now + self.rules.session_ttl;
        self.sessions.get_mut(&id.0).map(|old| *old = end).is_some()
    }

    /// Ends a session: what it holds goes, and cannot be locked again for the lock-delay.
    pub(super) fn end_session(&mut self, id: &SessionId, now: Duration) {
        if self.sessions.remove(&id.0).is_none() {
            return;
        }
        let delay = now + self.rules.lock_delay;
        if self.holds(id) {
            self.record = None;
            self.record_delay = delay;
            self.count();
        }
        let posts = self.posts.iter().filter(|(_, (_, by))| by == id);
        let gone: Vec<u64> = posts.map(|(node, _)| *node).collect();
        for node in gone {
            self.posts.remove(&node);
            self.post_delay.insert(node, delay);
        }
    }

    fn lives(&self, id: &SessionId) -> bool {
        self.sessions.contains_key(&id.0)
    }

    fn holds(&self, id: &SessionId) -> bool {
        matches!(&self.record, Some(entry) if entry.session.as_ref() == Some(id))
    }

    // What is there.

    /// Names the state of the record.
    pub(super) fn version(&self) -> crate::Version {
        let epoch = self.epoch.map(|(counter, _)| counter);
        stored::version(self.record.as_ref().map(|entry| entry.counter), epoch)
    }

    pub(super) fn seen(&self) -> Seen {
        let entry = self.record.as_ref();
        let (value, session) = entry.map_or((&[][..], None), |entry| {
            (&entry.value[..], entry.session.clone())
        });
        Seen {
            version: self.version(),
            holder: stored::read_holder(value, session, KEY),
        }
    }

    pub(super) fn survey(&self) -> Survey {
        Survey {
            seen: self.seen(),
            last_epoch: self.epoch.map(|(_, last)| last),
            epoch_version: crate::Version(self.epoch.map_or(0, |(counter, _)| counter)),
            cluster_id: self.cluster_id.clone(),
            posts: self.posts.values().cloned().collect(),
            positions: self.positions.clone(),
        }
    }

    // Changes. Each is one transaction: it is made as a whole, or refused.

    pub(super) fn acquire(
        &mut self,
        over: &Survey,
        own: &SessionId,
        record: &Record,
        now: Duration,
    ) -> Result<Outcome, Error> {
        let here = self.survey();
        let same = here.seen.version == over.seen.version
            && here.epoch_version == over.epoch_version
            && !matches!(here.seen.holder, crate::Holder::Foreign(_));
        if !same || !self.lives(own) || self.record_delay > now {
            return Ok(Outcome::Refused);
        }
        self.write(Some(record), Some(own))?;
        self.set_epoch(record, false);
        Ok(Outcome::Done(self.seen().version))
    }

    pub(super) fn renew(
        &mut self,
        known: crate::Version,
        own: &SessionId,
        record: &Record,
    ) -> Result<Outcome, Error> {
        if !self.holds(own) || self.seen().version != known {
            return Ok(Outcome::Refused);
        }
        self.write(Some(record), Some(own))?;
        Ok(Outcome::Done(self.seen().version))
    }

    pub(super) fn release(&mut self, own: &SessionId, record: &Record) -> Result<Outcome, Error> {
        if !self.holds(own) {
            return Ok(Outcome::Refused);
        }
        self.write(None, None)?;
        self.set_epoch(record, true);
        Ok(Outcome::Done(self.seen().version))
    }

    pub(super) fn pass(
        &mut self,
        known: crate::Version,
        own: &SessionId,
        target: &SessionId,
        record: &Record,
    ) -> Result<Outcome, Error> {
        if !self.holds(own) || self.seen().version != known || !self.lives(target) {
            return Ok(Outcome::Refused);
        }
        self.write(Some(record), Some(target))?;
        self.set_epoch(record, false);
        Ok(Outcome::Done(self.seen().version))
    }

    /// `None`: the session is gone. `Some(false)`: the lock-delay of the one before is not over.
    pub(super) fn post(&mut self, own: &SessionId, post: &Post, now: Duration) -> Option<bool> {
        if !self.lives(own) {
            return None;
        }
        if self
            .post_delay
            .get(&post.node_id)
            .is_some_and(|until| *until > now)
        {
            return Some(false);
        }
        self.posts.insert(post.node_id, (post.clone(), own.clone()));
        Some(true)
    }

    pub(super) fn unpost(&mut self, node_id: u64) {
        self.posts.remove(&node_id);
    }

    /// `nth`: grows with each request; one that was overtaken on its way is refused, as in Consul, where a request names
    /// what it replaces.
    pub(super) fn publish(&mut self, own: &SessionId, nth: u64, positions: &Positions) -> Outcome {
        let overtaken = self.published.0 == *own && self.published.1 >= nth;
        if !self.holds(own) || overtaken {
            return Outcome::Refused;
        }
        self.published = (own.clone(), nth);
        self.positions = positions.clone();
        Outcome::Done(self.seen().version)
    }

    pub(super) fn name_cluster(&mut self, id: &str) -> String {
        self.cluster_id.get_or_insert_with(|| id.to_owned()).clone()
    }

    /// What a stranger does who writes or deletes the key without asking: locks are advisory.
    pub(super) fn intrude(&mut self, value: Option<&[u8]>) {
        let counter = self.count();
        self.record = value.map(|value| Entry {
            counter,
            value: value.to_vec(),
            session: self.record.take().and_then(|entry| entry.session),
        });
    }

    /// What a stranger does who names another cluster.
    pub(super) fn intrude_cluster_id(&mut self, id: Option<&str>) {
        self.cluster_id = id.map(str::to_owned);
    }

    fn write(&mut self, record: Option<&Record>, session: Option<&SessionId>) -> Result<(), Error> {
        let value = match record {
            Some(record) => serde_json::to_vec(record)
                .map_err(|error| Error::Answer(format!("the record: {error}")))?,
            None => Vec::new(),
        };
        // As in Consul: an identical value under the same session is no change.
        let same = |entry: &Entry| entry.value == value && entry.session.as_ref() == session;
        if !self.record.as_ref().is_some_and(same) {
            let counter = self.count();
            self.record = Some(Entry {
                counter,
                value,
                session: session.cloned(),
            });
        }
        Ok(())
    }

    fn set_epoch(&mut self, record: &Record, released: bool) {
        let counter = self.count();
        let last = LastEpoch {
            epoch: record.epoch,
            ttl_ms: record.ttl_ms,
            released,
        };
        self.epoch = Some((counter, last));
    }
}
