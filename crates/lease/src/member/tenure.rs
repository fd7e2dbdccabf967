//! A lease that is held: until when, and by which record.

use std::time::Duration;

use super::rules;
use crate::leaser::{Holder, Seen, SessionId, Version};
use crate::record::Record;

/// Fencing begins this long before the deadline.
const TIME_TO_FENCE: Duration = Duration::from_millis(200);

/// A lease that this node holds.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    /// The record, as it was last confirmed.
    pub(super) record: Record,
    /// Its version.
    pub(super) version: Version,
    /// The session that holds it.
    pub(super) session: SessionId,
    /// When the request was sent by which it was written.
    sent: Duration,
    /// `None`: it holds for ever.
    pub(super) ttl: Option<Duration>,
    margin: Duration,
    /// Renewals without an answer.
    unknown: Vec<Attempt>,
}

/// A renewal that was sent and not answered.
#[derive(Debug, Clone)]
struct Attempt {
    record: Record,
    sent: Duration,
    over: Version,
}

/// What a state of the record means to its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is held as before.
    Held,
    /// It is held, and a renewal without an answer was carried out.
    Renewed,
    /// It is not held any more.
    Lost(String),
}

impl Tenure {
    pub(super) fn new(
        record: Record,
        version: Version,
        session: SessionId,
        sent: Duration,
        ttl: Option<Duration>,
        margin: Option<Duration>,
    ) -> Tenure {
        let margin = margin.or(ttl.map(rules::margin)).unwrap_or_default();
        Tenure {
            record,
            version,
            session,
            sent,
            ttl,
            margin,
            unknown: Vec::new(),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// Until when the node may commit.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let ttl = self.ttl?;
        Some(self.sent + ttl.saturating_sub(self.margin))
    }

    /// When fencing begins, if there is no renewal.
    pub(super) fn fence_at(&self) -> Option<Duration> {
        Some(self.deadline()?.saturating_sub(TIME_TO_FENCE))
    }

    /// When it is to be renewed.
    pub(super) fn renew_at(&self) -> Option<Duration> {
        Some(self.sent + self.ttl? / 4)
    }

    /// A renewal is about to be sent.
    pub(super) fn sending(&mut self, record: Record, now: Duration) {
        let over = self.version;
        self.unknown.push(Attempt {
            record,
            sent: now,
            over,
        });
    }

    /// Whether there are renewals that may have been carried out.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// The renewal with that number was carried out, and this is the record's version now.
    pub(super) fn renewed(&mut self, n: u64, version: Version) {
        let Some(place) = self.unknown.iter().position(|done| done.record.n == n) else {
            return; // Already known from the record itself.
        };
        let done = self.unknown.swap_remove(place);
        self.record = done.record;
        self.version = version;
        self.sent = done.sent;
        // The others were conditional on a version that is not there any more.
        self.unknown.retain(|attempt| attempt.over == version);
    }

    /// The renewal with that number was not carried out and never will be.
    pub(super) fn refused(&mut self, n: u64) {
        self.unknown.retain(|attempt| attempt.record.n != n);
    }

    /// The record was seen in that state.
    pub(super) fn witness(&mut self, seen: &Seen) -> Sight {
        let (record, session) = match &seen.holder {
            Holder::Node(record, session) => (record, session.as_ref()),
            Holder::Vacant => return Sight::Lost("the record is gone".to_owned()),
            Holder::Foreign(what) => return Sight::Lost(what.clone()),
        };
        if session == Some(&self.session) {
            if *record == self.record {
                return if seen.version == self.version {
                    Sight::Held
                } else {
                    Sight::Lost("somebody has written the record".to_owned())
                };
            }
            if self.unknown.iter().any(|done| done.record == *record) {
                self.renewed(record.n, seen.version);
                return Sight::Renewed;
            }
            let older = Record {
                n: self.record.n,
                ..record.clone()
            } == self.record;
            if older && record.n < self.record.n {
                return Sight::Held; // An answer that comes late.
            }
        }
        Sight::Lost(format!(
            "node {:016x} ({}) holds epoch {}",
            record.node_id, record.hostname, record.epoch
        ))
    }
}
