//! What every part of a member works with, and how it waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::config::MemberConfig;
use super::status::Desk;
use crate::clock::Clock;
use crate::error::Error;
use crate::leaser::{Answer, Leaser, Traits, patience};
use crate::node::{Identity, Node};
use crate::record::Record;

/// The member is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cancelled;

/// Something that goes on while the member waits for something else.
pub(super) type Going<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// At most one thing that is going on. To await it and to give that up does not end it.
pub(super) struct Slot<T>(Option<Going<T>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Slot<T> {
        Slot(None)
    }

    pub(super) fn start(&mut self, going: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(going));
    }

    pub(super) fn stop(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What comes of it; never, if there is nothing.
    pub(super) async fn next(&mut self) -> T {
        match &mut self.0 {
            Some(going) => {
                let done = going.await;
                self.0 = None;
                done
            }
            None => std::future::pending().await,
        }
    }
}

/// What is around a member. Clones are the same.
#[derive(Clone)]
pub(super) struct Env {
    pub(super) leaser: Arc<dyn Leaser>,
    pub(super) node: Arc<dyn Node>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Arc<MemberConfig>,
    pub(super) me: Arc<Identity>,
    pub(super) traits: Traits,
    pub(super) desk: Arc<Desk>,
    pub(super) cancel: CancellationToken,
    /// Numbers the records that this process writes.
    writes: Arc<AtomicU64>,
}

impl Env {
    pub(super) fn new(
        leaser: Arc<dyn Leaser>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
        config: MemberConfig,
    ) -> Env {
        Env {
            traits: leaser.traits(),
            me: Arc::new(node.identity()),
            leaser,
            node,
            clock,
            config: Arc::new(config),
            desk: Arc::new(Desk::new()),
            cancel: CancellationToken::new(),
            writes: Arc::new(AtomicU64::new(0)),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// For how long the answer to a request is waited for. A lease store gives up by itself after the same time.
    pub(super) fn patience(&self) -> Duration {
        patience(self.traits.ttl)
    }

    /// A record by which this node holds the lease. No two that it writes are the same: what is read back tells which
    /// of several requests with lost answers was carried out.
    pub(super) fn write(&self, epoch: u64, cluster_id: &str) -> Record {
        Record {
            hostname: self.me.hostname.clone(),
            advertise_url: self.me.advertise_url.clone(),
            node_id: self.me.node_id,
            boot_id: self.me.boot_id.clone(),
            cluster_id: cluster_id.to_owned(),
            epoch,
            n: self.writes.fetch_add(1, Ordering::Relaxed) + 1,
            ttl_ms: ttl_ms(self.traits.ttl),
        }
    }

    /// An answer, or none in time.
    pub(super) async fn answer<T>(&self, answer: Answer<'_, T>) -> Result<T, Error> {
        self.answer_by(self.now() + self.patience(), answer).await
    }

    /// The same, until a certain moment.
    pub(super) async fn answer_by<T>(
        &self,
        by: Duration,
        answer: Answer<'_, T>,
    ) -> Result<T, Error> {
        let late = || Error::Unreachable(format!("{}: no answer", self.leaser.describe()));
        self.within(by, answer).await.unwrap_or_else(|| Err(late()))
    }

    /// The same, unless the member is to end.
    pub(super) async fn ask<T>(
        &self,
        answer: Answer<'_, T>,
    ) -> Result<Result<T, Error>, Cancelled> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Cancelled),
            answer = self.answer(answer) => Ok(answer),
        }
    }

    /// What comes of it; `None` if nothing has by then.
    pub(super) async fn within<T>(
        &self,
        by: Duration,
        going: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = going => Some(done),
            () = self.clock.until(by) => None,
        }
    }

    /// Waits until then; `None`: for ever.
    pub(super) async fn until(&self, at: Option<Duration>) {
        match at {
            Some(at) => self.clock.until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Waits, unless the member is to end.
    pub(super) async fn pause(&self, how_long: Duration) -> Result<(), Cancelled> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Cancelled),
            () = self.clock.until(self.now() + how_long) => Ok(()),
        }
    }
}

/// A TTL as a record has it.
pub(super) fn ttl_ms(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}
