//! The database that a request is about.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use store::DbName;

use crate::error::Error;

/// The checked value of `?name=`; of several the first, as LiteFS reads it.
pub(crate) struct DatabaseParam(pub(crate) DbName);

impl<S: Send + Sync> FromRequestParts<S> for DatabaseParam {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<DatabaseParam, Error> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Error::Query(rejection.body_text()))?;
        let name = pairs
            .into_iter()
            .find_map(|(key, value)| (key == "name").then_some(value));
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or(Error::NameRequired)?;
        Ok(DatabaseParam(DbName::new(&name)?))
    }
}
