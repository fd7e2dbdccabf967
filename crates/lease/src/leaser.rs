//! What a lease store can do: the least that any store with compare-and-swap offers.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::Error;
use crate::record::{LastEpoch, Positions, Post, Record};

/// What a call of a [`Leaser`] returns. Every call ends by a deadline of its own.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// One state of the record. Two states with the same version are the same state; what else it is only the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

/// A session in the lease store: in its name a lease is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SessionId(pub String);

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Vacant,
    /// One of our nodes, under that session (`None`: the record is there, and locked by no session).
    Node(Record, Option<SessionId>),
    /// A node of LiteFS, or something that cannot be read; what there is to say of it.
    Foreign(String),
}

/// The record, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Names this state.
    pub version: Version,
    /// Who holds the lease.
    pub holder: Holder,
}

/// All that the lease store holds, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The record.
    pub seen: Seen,
    /// The epoch that is kept beside it, and its version (0: there is none).
    pub last_epoch: Option<LastEpoch>,
    /// Names the state of the epoch.
    pub epoch_version: Version,
    /// The cluster, once it has a name.
    pub cluster_id: Option<String>,
    /// The candidates that are there, and their sessions.
    pub posts: Vec<(Post, SessionId)>,
    /// What the last primary published: all databases, and what of them candidates had acknowledged.
    pub positions: Positions,
}

/// Whether a conditional change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was; this is the record's version now.
    Done(Version),
    /// It was not: something else is there than the caller thought.
    Refused,
}

/// What a lease store is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// For how long a lease holds after a renewal; `None`: for ever.
    pub ttl: Option<Duration>,
    /// Whether a lease can be handed over, taken over and released.
    pub movable: bool,
}

/// For how long a call waits for its answer. A primary asks four times in a TTL.
pub(crate) fn patience(ttl: Option<Duration>) -> Duration {
    const LEAST: Duration = Duration::from_millis(300);
    const MOST: Duration = Duration::from_secs(5);
    ttl.map_or(MOST, |ttl| (ttl / 4).clamp(LEAST, MOST))
}

/// A lease store, on behalf of one node.
///
/// Changes are conditional, and a refused one changes nothing. A call that ends with an error may have been carried
/// out or not: the caller looks, or repeats it. A node holds at most one session here, made with the first call that
/// needs one and made anew when the store has forgotten it ([`Error::SessionGone`] tells the caller, who thereby has
/// lost what it held).
pub trait Leaser: Send + Sync {
    /// What it is like.
    fn traits(&self) -> Traits;

    /// Where it is, for the log.
    fn describe(&self) -> String;

    /// The record, no older than the call.
    fn read(&self) -> Answer<'_, Seen>;

    /// Waits until the record is in another state than `known`, or for at most `wait`, and reads it.
    fn watch(&self, known: Version, wait: Duration) -> Answer<'_, Seen>;

    /// Everything.
    fn survey(&self) -> Answer<'_, Survey>;

    /// This node's session, made if there is none, and kept from expiring. Called at least every few seconds.
    fn session(&self) -> Answer<'_, SessionId>;

    /// Takes the lease if the record and the epoch are still in the states of that survey.
    fn acquire<'a>(&'a self, over: &'a Survey, record: &'a Record) -> Answer<'a, Outcome>;

    /// Replaces the record (with a higher `n`), if it is still held by this node's session and in state `known`.
    fn renew<'a>(&'a self, known: Version, record: &'a Record) -> Answer<'a, Outcome>;

    /// Gives the lease up, if it is still held by this node's session; the primary has stopped committing.
    fn release<'a>(&'a self, record: &'a Record) -> Answer<'a, Outcome>;

    /// Passes the lease to another session, if it is still held by this node's and in state `known`.
    fn pass<'a>(
        &'a self,
        known: Version,
        target: &'a SessionId,
        record: &'a Record,
    ) -> Answer<'a, Outcome>;

    /// Shows this node as a candidate, until its session ends or the post is replaced.
    fn post<'a>(&'a self, post: &'a Post) -> Answer<'a, ()>;

    /// Takes the post back.
    fn unpost(&self, node_id: u64) -> Answer<'_, ()>;

    /// Publishes what the primary has. Refused unless this node's session holds the lease.
    fn publish<'a>(&'a self, positions: &'a Positions) -> Answer<'a, Outcome>;

    /// Names the cluster, unless it has a name. Returns the name that it has.
    fn name_cluster<'a>(&'a self, id: &'a str) -> Answer<'a, String>;

    /// Ends the session. What it held is vacant, without being released.
    fn close(&self) -> Answer<'_, ()>;
}
