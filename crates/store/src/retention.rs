//! Removal of what is too old, in the background.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use crate::layout::remove_if_exists;
use crate::store::Store;

/// What was put aside is kept at least this long: somebody has to notice that it is missing.
const ASIDE: Duration = Duration::from_secs(24 * 3600);

/// Looks at the configured interval, for as long as the store lives.
pub(crate) fn start(store: &Arc<Store>) {
    let config = &store.env().config;
    if !config.retention.is_zero() && !config.retention_interval.is_zero() {
        again(&Arc::downgrade(store), store);
    }
}

fn again(weak: &Weak<Store>, store: &Store) {
    let weak = weak.clone();
    let interval = store.env().config.retention_interval;
    store.env().later(interval, move || {
        if let Some(store) = weak.upgrade() {
            reap(&store);
            again(&weak, &store);
        }
    });
}

fn reap(store: &Store) {
    let retention = store.env().config.retention;
    for db in store.all_databases() {
        if let Err(error) = db.keep_table(retention) {
            // Without it a start after a crash sends everything to the replicas; that is no reason to keep the log.
            tracing::warn!(database = %db.name(), error = error.chain(), "the page-checksum table is not saved");
        }
        let old = {
            let mut log = db.shared.log.write();
            log.forget_bytes(0);
            log.reap(retention, SystemTime::now())
        };
        for file in old {
            if let Err(error) = remove_if_exists(file.path()) {
                tracing::warn!(database = %db.name(), error = error.chain(), "an old LTX file stays");
            }
        }
    }
    if let Err(error) = crate::aside::reap(store.env(), retention.max(ASIDE)) {
        tracing::warn!(error = error.chain(), "what was put aside stays");
    }
}
