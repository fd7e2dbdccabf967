//! Why one side does not go on with a stream.

use std::fmt;

use crate::proto;

/// Why a peer does not go on with a stream, as it told the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason: decides whether retrying makes sense.
    pub reason: RefusalReason,
    /// The details, for people.
    pub text: String,
}

/// Kinds of reasons to refuse a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// No common protocol version.
    Protocol,
    /// A required feature is not known to the other.
    Feature,
    /// The nodes belong to different clusters.
    Cluster,
    /// The data directory was copied from that of a node which is alive.
    Clone,
    /// A node connected to itself.
    OwnSelf,
    /// No common LTX version.
    LtxVersion,
    /// The one that was asked is not, or no longer, the primary.
    NotPrimary,
    /// The primary has a lower epoch than one that the replica has followed.
    StaleEpoch,
    /// The other did not prove who it is.
    Unauthenticated,
    /// A newer connection of the same process took this one's place.
    Superseded,
    /// The other stops.
    Stopping,
    /// A reason that this version does not know.
    Other,
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, text: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            text: text.into(),
        }
    }

    /// Whether another attempt will be refused as well until an operator does something.
    pub fn is_lasting(&self) -> bool {
        match self.reason {
            RefusalReason::Protocol
            | RefusalReason::Feature
            | RefusalReason::Cluster
            | RefusalReason::Clone
            | RefusalReason::OwnSelf
            | RefusalReason::LtxVersion
            | RefusalReason::Unauthenticated
            | RefusalReason::Other => true,
            RefusalReason::NotPrimary
            | RefusalReason::StaleEpoch
            | RefusalReason::Superseded
            | RefusalReason::Stopping => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Refusal> for proto::Refusal {
    fn from(refusal: Refusal) -> proto::Refusal {
        use proto::refusal::Reason;
        let reason = match refusal.reason {
            RefusalReason::Protocol => Reason::Protocol,
            RefusalReason::Feature => Reason::Feature,
            RefusalReason::Cluster => Reason::Cluster,
            RefusalReason::Clone => Reason::Clone,
            RefusalReason::OwnSelf => Reason::Self_,
            RefusalReason::LtxVersion => Reason::LtxVersion,
            RefusalReason::NotPrimary => Reason::NotPrimary,
            RefusalReason::StaleEpoch => Reason::StaleEpoch,
            RefusalReason::Unauthenticated => Reason::Unauthenticated,
            RefusalReason::Superseded => Reason::Superseded,
            RefusalReason::Stopping => Reason::Stopping,
            RefusalReason::Other => Reason::Unspecified,
        };
        proto::Refusal {
            reason: reason.into(),
            text: refusal.text,
        }
    }
}

/// Longest text of a refusal that is kept, in characters: it goes to the log and to status displays.
const TEXT_MAX: usize = 500;

impl From<proto::Refusal> for Refusal {
    fn from(refusal: proto::Refusal) -> Refusal {
        use proto::refusal::Reason;
        let reason = match refusal.reason() {
            Reason::Protocol => RefusalReason::Protocol,
            Reason::Feature => RefusalReason::Feature,
            Reason::Cluster => RefusalReason::Cluster,
            Reason::Clone => RefusalReason::Clone,
            Reason::Self_ => RefusalReason::OwnSelf,
            Reason::LtxVersion => RefusalReason::LtxVersion,
            Reason::NotPrimary => RefusalReason::NotPrimary,
            Reason::StaleEpoch => RefusalReason::StaleEpoch,
            Reason::Unauthenticated => RefusalReason::Unauthenticated,
            Reason::Superseded => RefusalReason::Superseded,
            Reason::Stopping => RefusalReason::Stopping,
            Reason::Unspecified => RefusalReason::Other,
        };
        Refusal {
            reason,
            text: crate::wire::printable(&refusal.text, TEXT_MAX),
        }
    }
}
