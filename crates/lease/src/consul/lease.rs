//! [`Leaser`] over Consul's API.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::api::{Api, Op, Txn};
use super::candidacy::{Candidacy, json};
use super::environment::ConsulEnvironment;
use super::keys::{self, Keys};
use super::publish::Publisher;
use super::session::Session;
use super::transport::Transport;
use super::url::ConsulUrl;
use crate::clock::{BootClock, Clock as _};
use crate::error::Error;
use crate::leaser::{Answer, Holder, Leaser, Outcome, Seen, SessionId, Survey, Traits, Version};
use crate::record::{LastEpoch, Positions, Post, Record};
use crate::stored;

/// `lease.consul` of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsulConfig {
    /// `scheme://[:TOKEN@]host[:port][/prefix]`. Without a port: that of the scheme.
    pub url: String,
    /// The key of the lease, below the prefix.
    pub key: String,
    /// For how long the lease holds after a renewal. It may be shorter than Consul's sessions can.
    pub ttl: Duration,
    /// For how long a key that was locked cannot be locked again after its session ended.
    pub lock_delay: Duration,
    /// Shown in the name of the session.
    pub hostname: Option<String>,
}

impl fmt::Debug for ConsulConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL has a token in it.
        f.debug_struct("ConsulConfig")
            .field("key", &self.key)
            .field("ttl", &self.ttl)
            .field("lock_delay", &self.lock_delay)
            .finish_non_exhaustive()
    }
}

/// A lease in Consul, on behalf of one node.
pub struct ConsulLease {
    ttl: Duration,
    api: Arc<Api>,
    keys: Arc<Keys>,
    session: Session,
    publisher: Publisher,
    candidacy: Candidacy,
    /// The last state that a watch saw, and the index with which to wait for the next one.
    watched: Mutex<Option<(Version, u64)>>,
    /// The node whose post is there.
    posted: Mutex<Option<u64>>,
}

impl fmt::Debug for ConsulLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// The longest that one blocking query waits; Consul's own limit is ten minutes.
const LONGEST_BLOCK: Duration = Duration::from_secs(300);

/// The shortest. (A wait of 0 would be one of five minutes.)
const SHORTEST_BLOCK: Duration = Duration::from_millis(1);

impl ConsulLease {
    /// Checks the configuration; makes no request. `environment`: `CONSUL_HTTP_TOKEN` and the like.
    pub fn new(
        config: &ConsulConfig,
        environment: &ConsulEnvironment,
    ) -> Result<ConsulLease, Error> {
        let url = ConsulUrl::parse(&config.url)?;
        let keys = Arc::new(Keys::new(url.key(&config.key)?));
        let patience = crate::leaser::patience(Some(config.ttl));
        let transport = Transport::new(&url, environment, patience)?;
        let api = Arc::new(Api::new(transport, keys.record.clone(), patience));
        let node = (!url.prefix.is_empty()).then(|| format!("{}/litefs", url.prefix));
        let name = match &config.hostname {
            Some(hostname) => format!("litefs {hostname}"),
            None => "litefs".to_owned(),
        };
        Ok(ConsulLease {
            ttl: config.ttl,
            session: Session::new(api.clone(), name, node, config.ttl, config.lock_delay),
            publisher: Publisher::new(api.clone(), keys.clone()),
            candidacy: Candidacy::new(api.clone(), keys.clone()),
            watched: Mutex::new(None),
            posted: Mutex::new(None),
            api,
            keys,
        })
    }

    /// The record, and the index with which to wait for its next change.
    async fn look(&self, block: Option<(u64, Duration)>) -> Result<(Seen, u64), Error> {
        let (record, index) = self.api.get(&self.keys.record, block).await?;
        let epoch = match &record {
            Some(_) => None,
            // Names the vacancy. If the lease was taken in between, the index is of before that, and the next wait
            // with it ends at once.
            None => self.api.get(&self.keys.epoch, None).await?.0,
        };
        Ok((self.keys.seen(record.as_ref(), epoch.as_ref()), index))
    }

    /// See [`Leaser::watch`].
    async fn wait(&self, known: Version, wait: Duration) -> Result<Seen, Error> {
        let by = BootClock.now() + wait;
        loop {
            // Consul adds up to a sixteenth.
            let left = by.saturating_sub(BootClock.now()) * 16 / 17;
            // Whatever goes wrong, and when it is given up: the next one begins without an index.
            let last = lock(&self.watched).take();
            let block = last
                .filter(|(version, _)| *version == known && left >= SHORTEST_BLOCK)
                .map(|(_, index)| (index, left.min(LONGEST_BLOCK)));
            let (seen, index) = self.look(block).await?;
            let before = block.map_or(0, |(index, _)| index);
            // An index that goes back is that of a Consul which was restored or rebuilt.
            if index >= before {
                *lock(&self.watched) = Some((seen.version, index));
            }
            if seen.version != known || left < SHORTEST_BLOCK || index == before {
                return Ok(seen);
            }
        }
    }

    /// A transaction on the record; the version that it has then.
    async fn change(&self, ops: &[Op]) -> Result<Outcome, Error> {
        let made = self.api.txn(ops).await;
        if !matches!(made, Ok(Txn::Done(_))) {
            self.session.doubt().await;
        }
        match made? {
            Txn::Done(results) => {
                let of_record = results
                    .iter()
                    .rfind(|(key, _)| *key == self.keys.record)
                    .map(|(_, index)| *index);
                let index = of_record.ok_or_else(|| {
                    Error::Answer(format!(
                        "consul at {}: a transaction without a result",
                        self.api.place()
                    ))
                })?;
                Ok(Outcome::Done(stored::version(Some(index), None)))
            }
            Txn::Refused(why) => {
                tracing::debug!(why, "consul refuses a change of the lease");
                Ok(Outcome::Refused)
            }
        }
    }

    fn last_epoch(record: &Record, released: bool) -> Result<Vec<u8>, Error> {
        json(&LastEpoch {
            epoch: record.epoch,
            ttl_ms: record.ttl_ms,
            released,
        })
    }

    async fn name(&self, id: &str) -> Result<String, Error> {
        let key = &self.keys.cluster_id;
        // Once more if another node is at it.
        for _ in 0..2 {
            let (there, _) = self.api.get(key, None).await?;
            let name = there.as_ref().map(|entry| keys::text(&entry.value));
            match name.filter(|name| !name.is_empty()) {
                Some(name) => return Ok(name),
                None => {
                    let index = there.map_or(0, |entry| entry.modify_index);
                    if self.api.put_cas(key, index, id.as_bytes()).await? {
                        return Ok(id.to_owned());
                    }
                }
            }
        }
        let (there, _) = self.api.get(key, None).await?;
        there
            .map(|entry| keys::text(&entry.value))
            .filter(|name| !name.is_empty())
            .ok_or_else(|| {
                Error::Answer(format!(
                    "consul at {}: key {key} does not keep the cluster id",
                    self.api.place()
                ))
            })
    }

    async fn post_once(&self, post: &Post) -> Result<(), Error> {
        let session = self.session.get_or_make().await?;
        match self.candidacy.post(&session, post).await? {
            Txn::Done(_) => {
                *lock(&self.posted) = Some(post.node_id);
                Ok(())
            }
            Txn::Refused(why) => {
                self.session.doubt().await;
                self.session.keep().await?;
                Err(Error::Answer(format!(
                    "consul at {}: the post is refused: {why}",
                    self.api.place()
                )))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only single values are behind these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leaser for ConsulLease {
    fn traits(&self) -> Traits {
        Traits {
            ttl: Some(self.ttl),
            movable: true,
        }
    }

    fn describe(&self) -> String {
        format!("consul at {}, key {}", self.api.place(), self.keys.record)
    }

    fn read(&self) -> Answer<'_, Seen> {
        Box::pin(async { Ok(self.look(None).await?.0) })
    }

    fn watch(&self, known: Version, wait: Duration) -> Answer<'_, Seen> {
        Box::pin(self.wait(known, wait))
    }

    fn survey(&self) -> Answer<'_, Survey> {
        Box::pin(async { Ok(self.keys.survey(self.api.tree(&self.keys.record).await?)) })
    }

    fn session(&self) -> Answer<'_, SessionId> {
        Box::pin(async { self.session.keep().await.map(SessionId) })
    }

    fn acquire<'a>(&'a self, over: &'a Survey, record: &'a Record) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if matches!(over.seen.holder, Holder::Foreign(_)) {
                return Ok(Outcome::Refused);
            }
            let key = &self.keys.record;
            let session = self.session.get_or_make().await?;
            let as_seen = match stored::counter(over.seen.version) {
                // Whoever has locked it: with the key goes the lock.
                Some(index) => Op::delete_cas(key, index),
                None => Op::check_absent(key),
            };
            let last = Self::last_epoch(record, false)?;
            self.change(&[
                as_seen,
                Op::lock(key, &session, &json(record)?),
                Op::cas(&self.keys.epoch, over.epoch_version.0, &last),
            ])
            .await
        })
    }

    fn renew<'a>(&'a self, known: Version, record: &'a Record) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let (Some(session), Some(index)) = (self.session.get().await, stored::counter(known))
            else {
                return Ok(Outcome::Refused);
            };
            let key = &self.keys.record;
            self.change(&[
                Op::check_index(key, index),
                Op::check_session(key, &session),
                Op::lock(key, &session, &json(record)?),
            ])
            .await
        })
    }

    fn release<'a>(&'a self, record: &'a Record) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let Some(session) = self.session.get().await else {
                return Ok(Outcome::Refused);
            };
            let key = &self.keys.record;
            let last = Self::last_epoch(record, true)?;
            self.change(&[
                Op::unlock(key, &session, b""),
                // Only whoever takes the lease writes it, and that is held until here.
                Op::set(&self.keys.epoch, &last),
            ])
            .await
        })
    }

    fn pass<'a>(
        &'a self,
        known: Version,
        target: &'a SessionId,
        record: &'a Record,
    ) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let (Some(session), Some(index)) = (self.session.get().await, stored::counter(known))
            else {
                return Ok(Outcome::Refused);
            };
            let key = &self.keys.record;
            let value = json(record)?;
            let last = Self::last_epoch(record, false)?;
            self.change(&[
                Op::check_index(key, index),
                Op::unlock(key, &session, &value),
                Op::lock(key, &target.0, &value),
                Op::set(&self.keys.epoch, &last),
            ])
            .await
        })
    }

    fn post<'a>(&'a self, post: &'a Post) -> Answer<'a, ()> {
        Box::pin(self.post_once(post))
    }

    fn unpost(&self, node_id: u64) -> Answer<'_, ()> {
        Box::pin(self.candidacy.unpost(node_id))
    }

    fn publish<'a>(&'a self, positions: &'a Positions) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let Some(session) = self.session.get().await else {
                return Ok(Outcome::Refused);
            };
            let outcome = self.publisher.publish(&session, positions).await?;
            if outcome == Outcome::Refused {
                self.session.doubt().await;
            }
            Ok(outcome)
        })
    }

    fn name_cluster<'a>(&'a self, id: &'a str) -> Answer<'a, String> {
        Box::pin(self.name(id))
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // The post goes first, so that the next process of this node is not kept from posting by the lock-delay.
            let posted = lock(&self.posted).take();
            if let Some(node_id) = posted {
                self.candidacy.unpost(node_id).await?;
            }
            self.session.end().await
        })
    }
}
