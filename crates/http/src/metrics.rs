//! `GET /metrics`: Prometheus text, with LiteFS's names.
//!
//! Nothing is counted here: each scrape reads the store and fills a recorder of its own, so a database that is
//! gone has no series left, and two nodes in one process do not mix.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use store::{DatabaseStatus, Lag};

use crate::router::Api;

/// What a replica that was never in sync is behind, in milliseconds: what its `.lag` file says.
const NEVER_SYNCED_MS: u32 = i32::MAX as u32;

const CONTENT_TYPE: [(HeaderName, &str); 1] = [(
    header::CONTENT_TYPE,
    "text/plain; version=0.0.4; charset=utf-8",
)];

pub(crate) async fn metrics(
    State(api): State<Arc<Api>>,
) -> ([(HeaderName, &'static str); 1], String) {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        describe();
        record_node(&api);
        for db in api.store().databases() {
            record_database(&db.status());
        }
    });
    (CONTENT_TYPE, recorder.handle().render())
}

fn describe() {
    describe_gauge!("litefs_db_count", "Databases on this node.");
    describe_gauge!("litefs_is_primary", "1 on the primary, else 0.");
    describe_gauge!(
        "litefs_subscriber_count",
        "Replicas connected to this node."
    );
    describe_gauge!("litefs_http_stream_count", "Streams served to replicas.");
    describe_gauge!(
        "litefs_lag_seconds",
        "How far this node is behind the primary; 2147483.647 if never in sync."
    );
    describe_counter!(
        "litefs_fuse_requests_total",
        "Requests that the kernel sent to the mount for applications, by kind."
    );
    describe_gauge!("litefs_db_txid", "Last transaction captured or applied.");
    describe_counter!(
        "litefs_db_database_write_count",
        "Writes to the database file seen by the mount."
    );
    describe_counter!(
        "litefs_db_journal_write_count",
        "Writes to the rollback journal seen by the mount."
    );
    describe_counter!(
        "litefs_db_wal_write_count",
        "Writes to the write-ahead log seen by the mount."
    );
    describe_counter!(
        "litefs_db_shm_write_count",
        "Writes to the shared-memory file seen by the mount."
    );
    describe_counter!(
        "litefs_db_commit_count",
        "Transactions captured on this node since it started."
    );
    describe_gauge!("litefs_db_ltx_count", "LTX files on disk.");
    describe_gauge!("litefs_db_ltx_bytes", "Size of the LTX files on disk.");
    describe_counter!(
        "litefs_db_ltx_reap_count",
        "LTX files removed since this node started."
    );
    describe_gauge!(
        "litefs_db_lag_seconds",
        "From commit on the primary to apply here, for the last transaction."
    );
    describe_gauge!(
        "litefs_db_latched",
        "1 while an error keeps the database from replicating, else 0."
    );
    describe_gauge!(
        "litefs_db_damaged_pages",
        "Pages that the last scrub found damaged."
    );
    describe_gauge!(
        "litefs_unreplicated_count",
        "How often something was put aside that no other node may have."
    );
}

fn record_node(api: &Api) {
    let store = api.store();
    let replicas = (api.config.replicas)().len() as f64;
    gauge!("litefs_db_count").set(store.databases().len() as f64);
    if let Ok(count) = store.unreplicated_count() {
        gauge!("litefs_unreplicated_count").set(count as f64);
    }
    gauge!("litefs_is_primary").set(f64::from(u8::from(store.role().is_primary())));
    gauge!("litefs_subscriber_count").set(replicas);
    gauge!("litefs_http_stream_count").set(replicas);
    gauge!("litefs_lag_seconds").set(match store.lag() {
        Lag::Primary => 0.0,
        Lag::NeverSynced => f64::from(NEVER_SYNCED_MS) / 1000.0,
        Lag::Behind(lag) => lag.as_secs_f64(),
    });
    for (op, count) in (api.config.fuse_requests)() {
        counter!("litefs_fuse_requests_total", "op" => op).absolute(count);
    }
}

fn record_database(status: &DatabaseStatus) {
    let db = || status.name.to_string();
    gauge!("litefs_db_txid", "db" => db()).set(status.pos.txid.get() as f64);
    counter!("litefs_db_database_write_count", "db" => db()).absolute(status.database_writes);
    counter!("litefs_db_journal_write_count", "db" => db()).absolute(status.journal_writes);
    counter!("litefs_db_wal_write_count", "db" => db()).absolute(status.wal_writes);
    counter!("litefs_db_shm_write_count", "db" => db()).absolute(status.shm_writes);
    counter!("litefs_db_commit_count", "db" => db()).absolute(status.commits);
    gauge!("litefs_db_ltx_count", "db" => db()).set(status.ltx_files as f64);
    gauge!("litefs_db_ltx_bytes", "db" => db()).set(status.ltx_bytes as f64);
    counter!("litefs_db_ltx_reap_count", "db" => db()).absolute(status.ltx_reaped);
    gauge!("litefs_db_lag_seconds", "db" => db()).set(status.lag_ms as f64 / 1000.0);
    gauge!("litefs_db_latched", "db" => db()).set(f64::from(u8::from(status.latched.is_some())));
    gauge!("litefs_db_damaged_pages", "db" => db()).set(status.damaged_pages.len() as f64);
}

#[cfg(test)]
pub(crate) mod tests {
    use ltx::Pos;
    use store::{DbName, Incarnation, Mode};

    use super::*;

    /// A database in which no two figures are equal.
    pub(crate) fn status(name: &str) -> DatabaseStatus {
        DatabaseStatus {
            name: DbName::new(name).unwrap(),
            pos: "000000000000002a/8000000000000001".parse::<Pos>().unwrap(),
            incarnation: Incarnation::new(1),
            mode: Mode::Wal,
            page_size: Some(4096),
            page_count: 2,
            commits: 3,
            applied: 4,
            ltx_files: 5,
            ltx_bytes: 6,
            ltx_reaped: 7,
            last_change_ms: Some(8),
            lag_ms: 1500,
            latched: None,
            damaged_pages: vec![3, 7],
            database_writes: 9,
            journal_writes: 10,
            wal_writes: 11,
            shm_writes: 12,
        }
    }

    #[test]
    fn each_figure_of_a_database_has_its_series() {
        let latched = DatabaseStatus {
            latched: Some("disk full".to_owned()),
            ..status("b\"ad")
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, || {
            record_database(&status("app"));
            record_database(&latched);
        });
        let text = recorder.handle().render();
        for expected in [
            "litefs_db_txid{db=\"app\"} 42",
            "litefs_db_database_write_count{db=\"app\"} 9",
            "litefs_db_journal_write_count{db=\"app\"} 10",
            "litefs_db_wal_write_count{db=\"app\"} 11",
            "litefs_db_shm_write_count{db=\"app\"} 12",
            "litefs_db_commit_count{db=\"app\"} 3",
            "litefs_db_ltx_count{db=\"app\"} 5",
            "litefs_db_ltx_bytes{db=\"app\"} 6",
            "litefs_db_ltx_reap_count{db=\"app\"} 7",
            "litefs_db_lag_seconds{db=\"app\"} 1.5",
            "litefs_db_latched{db=\"app\"} 0",
            "litefs_db_damaged_pages{db=\"app\"} 2",
            "litefs_db_latched{db=\"b\\\"ad\"} 1",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} is not in:\n{text}"
            );
        }
    }
}
