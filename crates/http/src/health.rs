//! `GET /health`: whether this node can serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use store::{DatabaseStatus, Lag, Role};

use crate::router::Api;

/// How far behind a replica may be: what LiteFS's proxy allows by default. It outlasts a restart of the
/// primary, so that not all replicas leave a load balancer at once.
const MAX_LAG: Duration = Duration::from_secs(10);

pub(crate) async fn health(State(api): State<Arc<Api>>) -> (StatusCode, String) {
    let store = api.store();
    if !store.is_mounted() {
        let reason = "nothing is mounted yet\n".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    let databases = store.all_databases();
    match complaint(
        &store.role(),
        store.lag(),
        databases.iter().map(|db| db.status()),
    ) {
        None => (StatusCode::OK, "OK\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// What keeps a node from serving.
fn complaint(
    role: &Role,
    lag: Lag,
    mut databases: impl Iterator<Item = DatabaseStatus>,
) -> Option<String> {
    role_complaint(role, lag).or_else(|| databases.find_map(latch_complaint))
}

fn role_complaint(role: &Role, lag: Lag) -> Option<String> {
    let primary = match role {
        Role::Primary { .. } => return None,
        Role::None => return Some("neither primary nor replica".to_owned()),
        Role::Replica { primary } => primary,
    };
    let behind = match lag {
        Lag::Behind(lag) if lag <= MAX_LAG => return None,
        Lag::Behind(lag) => format!("{:.1} s behind the primary", lag.as_secs_f64()),
        Lag::NeverSynced => "never in sync with the primary".to_owned(),
        // The role changed between the two questions.
        Lag::Primary => return None,
    };
    let connection = if primary.is_some() {
        "connected"
    } else {
        "not connected"
    };
    Some(format!("replica, {connection}, {behind}"))
}

fn latch_complaint(status: DatabaseStatus) -> Option<String> {
    let DatabaseStatus { name, latched, .. } = status;
    latched.map(|reason| format!("database {name} is not replicating: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::iter;

    use store::{Epoch, PrimaryInfo};

    use super::*;

    #[test]
    fn a_replica_is_healthy_while_it_is_close_behind() {
        let info = PrimaryInfo {
            hostname: "db1".to_owned(),
            advertise_url: "http://db1:20202".to_owned(),
        };
        let connected = Role::Replica {
            primary: Some(info),
        };
        let alone = Role::Replica { primary: None };
        let behind = |ms| Lag::Behind(Duration::from_millis(ms));
        let complaint = |role: &Role, lag| complaint(role, lag, iter::empty()).unwrap_or_default();
        assert_eq!(complaint(&connected, behind(0)), "");
        assert_eq!(complaint(&alone, behind(10_000)), "");
        assert_eq!(
            complaint(&alone, behind(10_001)),
            "replica, not connected, 10.0 s behind the primary"
        );
        assert_eq!(
            complaint(&connected, behind(75_250)),
            "replica, connected, 75.2 s behind the primary"
        );
        assert_eq!(
            complaint(&connected, Lag::NeverSynced),
            "replica, connected, never in sync with the primary"
        );
        assert_eq!(
            complaint(&Role::None, Lag::NeverSynced),
            "neither primary nor replica"
        );
        assert_eq!(
            complaint(
                &Role::Primary {
                    epoch: Epoch::new(1)
                },
                Lag::Primary
            ),
            ""
        );
    }

    #[test]
    fn a_latched_database_is_named() {
        let fine = crate::metrics::tests::status("fine.db");
        let mut stuck = crate::metrics::tests::status("app.db");
        stuck.latched = Some("disk full".to_owned());
        let role = Role::Primary {
            epoch: Epoch::new(1),
        };
        assert_eq!(
            complaint(&role, Lag::Primary, iter::once(fine.clone())),
            None
        );
        let expected = "database app.db is not replicating: disk full";
        assert_eq!(
            complaint(&role, Lag::Primary, [fine, stuck].into_iter()).as_deref(),
            Some(expected)
        );
    }
}
