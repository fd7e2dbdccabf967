//! Faults between a node and the lease store in memory.

use std::future::Future;
use std::pin::Pin;

/// What a node asks the lease store for: the calls of [`Leaser`](crate::Leaser).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named for the calls")]
pub enum Op {
    Read,
    Watch,
    Survey,
    Session,
    Acquire,
    Renew,
    Release,
    Pass,
    Post,
    Unpost,
    Publish,
    NameCluster,
    Close,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leg {
    /// Its request is on the way to the store.
    Request,
    /// It was carried out, and its answer is on the way back.
    Answer,
}

/// What becomes of a request or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It does not: the caller is told [`Error::Unreachable`](crate::Error::Unreachable). A call whose answer is lost
    /// was carried out.
    Lost,
}

/// What the network between one node and the store does. A future that takes its time is a slow network: a request
/// that arrives after its caller gave up is carried out all the same.
///
/// Closures that return boxed futures are hooks.
pub trait Hook: Send + Sync {
    /// Called for each leg of each call.
    fn pass(&self, op: Op, leg: Leg) -> Pin<Box<dyn Future<Output = Fate> + Send + '_>>;
}

impl<F> Hook for F
where
    F: Fn(Op, Leg) -> Pin<Box<dyn Future<Output = Fate> + Send>> + Send + Sync,
{
    fn pass(&self, op: Op, leg: Leg) -> Pin<Box<dyn Future<Output = Fate> + Send + '_>> {
        self(op, leg)
    }
}
