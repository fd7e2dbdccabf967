//! The contents of the files that are made up, as LiteFS writes them.

use std::time::{Duration, SystemTime};

use store::{Lag, Role, Store};

/// Size of `X-pos`: 16 hex digits, a slash, 16 hex digits, a newline.
pub(crate) const POS_SIZE: u64 = 34;

/// Size of `.lag`: a sign, nine digits, a newline.
pub(crate) const LAG_SIZE: u64 = 11;

/// `X-pos`.
pub(crate) fn pos(pos: impl std::fmt::Display) -> String {
    format!("{pos}\n")
}

/// `.primary`: the primary's host name. `None` on the primary and while there is no connection to it.
pub(crate) fn primary(store: &Store) -> Option<String> {
    match store.role() {
        Role::Replica {
            primary: Some(primary),
        } => Some(format!("{}\n", primary.hostname)),
        _ => None,
    }
}

/// `.lag`: milliseconds, with a sign, in ten characters.
pub(crate) fn lag(store: &Store) -> String {
    let text = match store.lag() {
        Lag::Primary => "+000000000".into(),
        Lag::NeverSynced => format!("{:+}", i32::MAX),
        Lag::Behind(lag) => format!("{:+010}", lag.as_millis().min(999_999_999)),
    };
    format!("{text}\n")
}

/// When `.lag` was true last.
pub(crate) fn lag_time(store: &Store) -> SystemTime {
    match store.lag() {
        Lag::Primary => SystemTime::now(),
        Lag::NeverSynced => SystemTime::UNIX_EPOCH,
        Lag::Behind(lag) => SystemTime::now()
            .checked_sub(lag)
            .unwrap_or(SystemTime::UNIX_EPOCH + Duration::ZERO),
    }
}
