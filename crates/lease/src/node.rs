//! What a member asks of its node.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::record::{Positions, Post, Record};

/// Something that a node does.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who a node is. None of it changes while the process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The number of its data directory.
    pub node_id: u64,
    /// Its host name.
    pub hostname: String,
    /// The base URL of its API.
    pub advertise_url: String,
    /// The start of its machine; empty if it cannot be had.
    pub boot_id: String,
    /// Whether it can be elected: a candidate by its configuration, without a filter of databases.
    pub candidate: bool,
}

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// The cluster that it belongs to, if it belongs to one.
    pub cluster_id: Option<String>,
    /// The highest epoch that it led, or in which it had all that the primary had.
    pub epoch: u64,
    /// The highest epoch that it ever heard of.
    pub seen_epoch: u64,
    /// Its databases.
    pub positions: Positions,
    /// Databases that it dropped because the primary that it followed had no such database any more, as they were; of
    /// each name the last one. They may be published still. None that has come back since.
    pub dropped: Positions,
}

/// A term that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Its number; it must be durable before the first commit.
    pub epoch: u64,
    /// The cluster; the node joins it if it belongs to none.
    pub cluster_id: String,
    /// It was handed over: the primary before has stopped, and this node has all that it had.
    pub handed_over: bool,
    /// Candidates of the same epoch that have transactions which this node has not: to be waited for, boundedly,
    /// before applications may write.
    pub ahead: Vec<Post>,
}

/// Why a node cannot do what it was asked for; for the log and for people.
pub type Trouble = String;

/// A node, as a member drives it.
///
/// Calls come one after the other, never two at a time, but for [`Node::extend`] and [`Node::acknowledged`], which do
/// not wait, and [`Node::ask_for_handoff`].
///
/// The futures of [`Node::holdings`], [`Node::lead`], [`Node::heir`], [`Node::drain`] and [`Node::ask_for_handoff`] may
/// be dropped before they are done; what they began must then be ended by the next call. Those of the others are not
/// dropped: they end by themselves, soon.
pub trait Node: Send + Sync {
    /// Who it is.
    fn identity(&self) -> Identity;

    /// What it has. On the primary what is committed is captured first.
    fn holdings(&self) -> Doing<'_, Holdings>;

    /// Until then (on the clock of the lease) this node may commit; `None`: for ever. By itself it stops committing
    /// before that. Called after each renewal, and before [`Node::lead`].
    fn extend(&self, deadline: Option<Duration>);

    /// Becomes the primary; when it returns applications can commit, until the deadline. It may take its time: the
    /// lease is renewed meanwhile. An error: it cannot, and commits nothing. If the lease is lost before it is done it
    /// is dropped, and [`Node::fence`] is called.
    fn lead<'a>(&'a self, term: &'a Term) -> Doing<'a, Result<(), Trouble>>;

    /// Stops committing, whatever it takes, and is neither primary nor replica. When it returns no application can
    /// commit. `by`: when it must be done.
    fn fence(&self, by: Option<Duration>) -> Doing<'_, ()>;

    /// Follows a primary (again, if it is the one that it follows already). An error: it does not, and is asked again.
    fn follow<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>>;

    /// Follows nobody, and commits nothing; its databases can be read. `why` is shown to people. The first call that a
    /// member makes: what a process before this one has left running is fenced when it returns.
    fn stand_by<'a>(&'a self, why: &'a str) -> Doing<'a, ()>;

    /// Of the primary: its databases, and the highest position that a connected candidate has acknowledged of each
    /// (0: none). Only what is in the primary's own history: a replica that comes with another one has acknowledged
    /// nothing of this one yet. Whoever lacks what was returned here once is not elected.
    fn acknowledged(&self) -> Positions;

    /// Of the primary: the connected candidate to which it could hand over now, the most advanced one or the one with
    /// that number.
    fn heir<'a>(&'a self, wanted: Option<u64>) -> Doing<'a, Result<u64, Trouble>>;

    /// First half of a handoff: within `within` nobody can commit any more. An error: it could not be done, and
    /// everything goes on as before. It is called where the lease holds much longer than that.
    fn freeze(&self, within: Duration) -> Doing<'_, Result<(), Trouble>>;

    /// Second half: waits until that replica has acknowledged all that there is. Frozen.
    fn drain<'a>(&'a self, heir: u64, by: Duration) -> Doing<'a, Result<(), Trouble>>;

    /// The handoff came to nothing: applications can commit again.
    fn thaw(&self) -> Doing<'_, ()>;

    /// Waits until this node, which follows that primary, is in sync with it, then asks it to hand over to this node.
    /// An error: it was refused, or cannot be asked; it is tried again later.
    fn ask_for_handoff<'a>(&'a self, primary: &'a Record) -> Doing<'a, Result<(), Trouble>>;
}
