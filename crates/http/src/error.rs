//! What the API answers when it cannot do what was asked.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use store::{ErrorKind, NameError};

use crate::transfer::{MAX_TRANSFERS, STALL};

/// Why a request is refused. The text is the body of the answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The query has no `name`, or an empty one.
    #[error("name required")]
    NameRequired,
    /// `name` cannot be the name of a database.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The query cannot be read.
    #[error("query: {0}")]
    Query(String),
    /// The path exists and takes another method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// There is no such path.
    #[error("not found")]
    NoSuchPath,
    /// The store refused. LiteFS's texts where it has one, else ours with all causes.
    #[error("{}", store_text(.0))]
    Store(#[from] store::Error),
    /// Too many exports and imports at a time.
    #[error("{MAX_TRANSFERS} exports and imports are under way, try again later")]
    TooManyTransfers,
    /// The client stopped sending.
    #[error("no data came for {} seconds", STALL.as_secs())]
    Stalled,
    /// The body ended early or was not readable.
    #[error("request body: {0}")]
    Body(axum::Error),
    /// The thread that did the work ended without a result: it panicked, or the program is closing.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The status that goes with the error.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Error::NameRequired | Error::Name(_) | Error::Query(_) | Error::Body(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::NoSuchPath => StatusCode::NOT_FOUND,
            Error::Store(error) => store_status(error.kind()),
            Error::TooManyTransfers => StatusCode::SERVICE_UNAVAILABLE,
            Error::Stalled => StatusCode::REQUEST_TIMEOUT,
            Error::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether another node, the primary, would do it.
    pub(crate) fn is_for_the_primary(&self) -> bool {
        matches!(self, Error::Store(error) if error.kind() == ErrorKind::NotPrimary)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(error = %self, "request not served");
        } else {
            tracing::debug!(error = %self, status = status.as_u16(), "request refused");
        }
        (status, format!("{self}\n")).into_response()
    }
}

fn store_status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotPrimary | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::BadInput => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Clients of LiteFS know the first two texts.
fn store_text(error: &store::Error) -> String {
    match error.kind() {
        ErrorKind::NotPrimary => "lease expired".to_owned(),
        ErrorKind::NotFound => "database not found".to_owned(),
        ErrorKind::BadInput
        | ErrorKind::Conflict
        | ErrorKind::Unavailable
        | ErrorKind::Internal => error.chain(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use store::DbName;

    use super::*;

    #[test]
    fn every_kind_of_store_error_has_its_status_and_text() {
        let db = || DbName::new("app.db").unwrap();
        let full = store::Error::Io {
            what: "write x".to_owned(),
            source: io::Error::other("disk full"),
        };
        let bad = store::Error::NotADatabase {
            db: db(),
            reason: "too short".to_owned(),
        };
        for (error, status, text) in [
            (store::Error::NotPrimary, 503, "lease expired"),
            (
                store::Error::UnknownDatabase(db()),
                404,
                "database not found",
            ),
            (
                bad,
                400,
                "database app.db: not a usable SQLite database: too short",
            ),
            (store::Error::Closed(db()), 503, "database app.db is closed"),
            (full, 500, "write x: disk full"),
        ] {
            let error = Error::from(error);
            assert_eq!(
                (error.status().as_u16(), error.to_string()),
                (status, text.to_owned())
            );
        }
        assert_eq!(store_status(ErrorKind::Conflict).as_u16(), 409);
    }
}
