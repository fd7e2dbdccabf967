//! What a member shows of itself.

use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;
use crate::leaser::Seen;
use crate::record::Record;

/// What a member does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Phase {
    /// It neither leads nor follows.
    Waiting {
        /// What for.
        why: String,
    },
    /// It follows a primary.
    Follower {
        /// The primary, as its record was when it was first seen.
        primary: Record,
    },
    /// It takes part in an election. The node goes on following whom it followed.
    Electing,
    /// It holds the lease, and the node is becoming the primary.
    Rising {
        /// The term.
        epoch: u64,
    },
    /// It leads.
    Primary {
        /// The term.
        epoch: u64,
        /// Until then it may commit, by the clock of the lease; `None`: for ever.
        deadline: Option<Duration>,
    },
    /// It leads, and nobody can commit: it is handing over.
    Frozen {
        /// The term that ends.
        epoch: u64,
        /// The node to which it hands over.
        heir: u64,
    },
    /// It has ended, or has not begun.
    #[default]
    Stopped,
}

/// What a member shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberStatus {
    /// What it does.
    pub phase: Phase,
    /// Why it did not take over, or does not follow, when it last could have.
    pub refusal: Option<String>,
    /// What is wrong with the lease store; `None`: it answers.
    pub trouble: Option<String>,
    /// The record, as it was last seen.
    pub record: Option<Seen>,
    /// An operator has made it eligible for the next election, whatever it lacks.
    pub forced: bool,
}

/// Where the status is shown and said.
pub(super) struct Desk(watch::Sender<MemberStatus>);

impl Desk {
    pub(super) fn new() -> Desk {
        Desk(watch::Sender::new(MemberStatus::default()))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<MemberStatus> {
        self.0.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut MemberStatus)) {
        self.0.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    pub(super) fn shows(&self, phase: &Phase) -> bool {
        self.0.borrow().phase == *phase
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.change(|status| status.phase = phase);
    }

    pub(super) fn seen(&self, seen: &Seen) {
        self.change(|status| status.record = Some(seen.clone()));
    }

    pub(super) fn forced(&self, forced: bool) {
        self.change(|status| status.forced = forced);
    }

    /// Something that is refused. Logged when it is another than before.
    pub(super) fn refuses(&self, why: &str) {
        if self.0.borrow().refusal.as_deref() != Some(why) {
            tracing::warn!("{why}");
        }
        self.change(|status| status.refusal = Some(why.to_owned()));
    }

    /// Nothing is refused.
    pub(super) fn content(&self) {
        self.change(|status| status.refusal = None);
    }

    /// The lease store does not answer. Logged once.
    pub(super) fn outage(&self, store: &str, error: &Error) {
        if self.0.borrow().trouble.is_none() {
            tracing::warn!(%error, "{store} does not answer: trying again");
        }
        self.change(|status| status.trouble = Some(error.to_string()));
    }

    /// It answers.
    pub(super) fn answered(&self, store: &str) {
        if self.0.borrow().trouble.is_some() {
            tracing::info!("{store} answers again");
        }
        self.change(|status| status.trouble = None);
    }
}
