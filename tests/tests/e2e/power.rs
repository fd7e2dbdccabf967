//! Machines and processes that die at a moment that the test chooses: see `crash_disk`.

use std::time::Duration;

use harness::faultfs::Loss;

use crate::crash_disk::{Dies, Kept, Script, record};

const LIMIT: Duration = Duration::from_secs(3600);
/// Moments of each script that are tried by default.
const FEW: usize = 4;

fn killed(_: u64) -> Loss {
    Loss::Nothing
}

fn power(seed: u64) -> Loss {
    Loss::Unsynced { seed, names: false }
}

fn power_and_names(seed: u64) -> Loss {
    Loss::Unsynced { seed, names: true }
}

const ROLLBACK: &[&str] = &["VACUUM", "DROP TABLE other"];
const WAL: &[&str] = &[
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "VACUUM",
    "DROP TABLE other",
];

fn script(pragmas: &'static str, between: &'static [&'static str]) -> Script {
    Script {
        pragmas,
        between,
        commits: 3,
    }
}

macro_rules! moments {
    ($name:ident, $pragmas:literal, $between:ident, $loss:ident, $kept:ident) => {
        #[test]
        fn $name() {
            if let Some(recording) = record(LIMIT, &script($pragmas, $between), Dies::Primary) {
                recording.at_moments(FEW, 1, $loss, Kept::$kept);
            }
        }
    };
}

moments!(
    kill_in_delete_mode,
    "PRAGMA journal_mode = delete; PRAGMA synchronous = normal",
    ROLLBACK,
    killed,
    Acknowledged
);
moments!(
    kill_in_truncate_mode,
    "PRAGMA journal_mode = truncate; PRAGMA synchronous = normal",
    ROLLBACK,
    killed,
    Acknowledged
);
moments!(
    kill_in_persist_mode,
    "PRAGMA journal_mode = persist; PRAGMA synchronous = normal",
    ROLLBACK,
    killed,
    Acknowledged
);
moments!(
    kill_in_wal_mode,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = normal",
    WAL,
    killed,
    Acknowledged
);
moments!(
    kill_in_wal_mode_with_full_sync,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = full",
    WAL,
    killed,
    Acknowledged
);

moments!(
    power_in_delete_mode,
    "PRAGMA journal_mode = delete; PRAGMA synchronous = full",
    ROLLBACK,
    power,
    Acknowledged
);
moments!(
    power_in_truncate_mode,
    "PRAGMA journal_mode = truncate; PRAGMA synchronous = full",
    ROLLBACK,
    power,
    Acknowledged
);
moments!(
    power_in_persist_mode,
    "PRAGMA journal_mode = persist; PRAGMA synchronous = full",
    ROLLBACK,
    power,
    Acknowledged
);
moments!(
    power_in_wal_mode,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = normal",
    WAL,
    power,
    Some
);
moments!(
    power_in_wal_mode_with_full_sync,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = full",
    WAL,
    power,
    Acknowledged
);

// The journal's removal is not synced at FULL.
moments!(
    power_and_names_in_delete_mode,
    "PRAGMA journal_mode = delete; PRAGMA synchronous = full",
    ROLLBACK,
    power_and_names,
    AllButTheLast
);
moments!(
    power_and_names_in_delete_mode_with_extra_sync,
    "PRAGMA journal_mode = delete; PRAGMA synchronous = extra",
    ROLLBACK,
    power_and_names,
    Acknowledged
);
moments!(
    power_and_names_in_wal_mode,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = normal",
    WAL,
    power_and_names,
    Some
);
moments!(
    power_and_names_in_wal_mode_with_full_sync,
    "PRAGMA journal_mode = wal; PRAGMA synchronous = full",
    WAL,
    power_and_names,
    Acknowledged
);

macro_rules! moments_of_the_replica {
    ($name:ident, $pragmas:literal, $between:ident, $loss:ident) => {
        #[test]
        fn $name() {
            if let Some(recording) = record(LIMIT, &script($pragmas, $between), Dies::Replica) {
                recording.at_moments(FEW, 2, $loss, Kept::Acknowledged);
            }
        }
    };
}

moments_of_the_replica!(
    kill_of_the_replica_in_delete_mode,
    "PRAGMA journal_mode = delete",
    ROLLBACK,
    killed
);
moments_of_the_replica!(
    kill_of_the_replica_in_wal_mode,
    "PRAGMA journal_mode = wal",
    WAL,
    killed
);
moments_of_the_replica!(
    power_of_the_replica_in_delete_mode,
    "PRAGMA journal_mode = delete",
    ROLLBACK,
    power_and_names
);
moments_of_the_replica!(
    power_of_the_replica_in_wal_mode,
    "PRAGMA journal_mode = wal",
    WAL,
    power_and_names
);
