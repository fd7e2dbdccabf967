//! What can end a stream.

use std::time::Duration;

use store::{DbName, ErrorKind, NameError};
use tonic::{Code, Status};

use crate::Refusal;

/// What ended a stream, or kept it from beginning.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer does not go on with us.
    #[error("{peer} refused: {refusal}")]
    Refused {
        /// Who refused.
        peer: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// We do not go on with the peer.
    #[error("refusing the peer: {0}")]
    Refusing(Refusal),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(#[from] Violation),
    /// Nothing was heard for too long: the connection is half-open.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// The peer closed the stream without a reason.
    #[error("the peer closed the stream")]
    Closed,
    /// The primary's URL cannot be used.
    #[error("primary's url {url:?}: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("connection to {url}")]
    Transport {
        /// The primary's URL.
        url: String,
        /// What happened.
        source: tonic::transport::Error,
    },
    /// The stream ended with a gRPC status.
    #[error("stream ended: {0}")]
    Status(Box<Status>),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A message that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A database name that is none.
    #[error("database name {0}")]
    Name(#[from] NameError),
    /// A message without content, or of a kind that this version does not know.
    #[error("an empty or unknown message")]
    Empty,
    /// A message that is not allowed at this point.
    #[error("{0} is not expected here")]
    Unexpected(&'static str),
    /// A field whose value is not acceptable.
    #[error("{field}: {reason}")]
    Field {
        /// Message and field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// More of something than the protocol allows.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A piece of a transfer that does not belong where it came.
    #[error("database {db}: {reason}")]
    Transfer {
        /// The database.
        db: DbName,
        /// What does not fit.
        reason: String,
    },
    /// More bytes in flight for a database than it has credit for.
    #[error("database {db}: {queued} bytes in flight, more than its credit of {credit}")]
    Credit {
        /// The database.
        db: DbName,
        /// Bytes waiting here, with the new ones.
        queued: u64,
        /// What was allowed.
        credit: u64,
    },
    /// More bytes or transactions are acknowledged than were sent.
    #[error("database {db}: acknowledges {claimed} bytes of round {round}, {sent} were sent")]
    Acknowledged {
        /// The database.
        db: DbName,
        /// The round.
        round: u64,
        /// What the peer claims.
        claimed: u64,
        /// What it can have.
        sent: u64,
    },
}

impl Error {
    /// The gRPC status that says this to the peer: the one place where errors of this crate become codes.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Error::Refused { .. } | Error::Closed => Code::Cancelled,
            Error::Refusing(_) => Code::FailedPrecondition,
            Error::Violation(_) => Code::InvalidArgument,
            Error::Silent(_) => Code::DeadlineExceeded,
            Error::Url { .. } => Code::Internal,
            Error::Transport { .. } => Code::Unavailable,
            Error::Status(status) => status.code(),
            Error::Store(error) => match error.kind() {
                ErrorKind::NotPrimary => Code::FailedPrecondition,
                ErrorKind::NotFound => Code::NotFound,
                ErrorKind::BadInput => Code::InvalidArgument,
                ErrorKind::Conflict => Code::Aborted,
                ErrorKind::Unavailable => Code::Unavailable,
                ErrorKind::Internal => Code::Internal,
            },
        };
        Status::new(code, self.to_string())
    }

    /// The error with all its causes in one line, for logs and status displays.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            // Some libraries repeat their cause in their own text.
            if !text.ends_with(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        text
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Status(Box::new(status))
    }
}
