//! What the tests of one topic have in common: each runs with passthrough and with cached files.

use std::path::Path;

use harness::{Cluster, Node, sqlite3};

/// Makes two tests of each function: `name::passthrough` and `name::cached`.
macro_rules! both_ways {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        $(
            mod $name {
                #[test]
                $(#[$attribute])*
                fn passthrough() {
                    super::$name(true);
                }

                #[test]
                $(#[$attribute])*
                fn cached() {
                    super::$name(false);
                }
            }
        )*
    };
}
pub(crate) use both_ways;

/// Runs statements that must succeed, in a process of their own.
#[track_caller]
pub(crate) fn run(database: &Path, sql: &str) -> String {
    sqlite3(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The TXID of `app` on the primary.
#[track_caller]
pub(crate) fn txid(cluster: &Cluster, database: &str) -> u64 {
    let pos = cluster.primary.read_pos(database);
    pos.unwrap_or_else(|error| panic!("{database}-pos: {error}"))
        .txid
}

/// What a replica's applications see.
#[track_caller]
pub(crate) fn there(cluster: &Cluster, database: &str, sql: &str) -> String {
    run(&replica(cluster).database(database), sql)
}

fn replica(cluster: &Cluster) -> &Node {
    cluster.replica()
}
