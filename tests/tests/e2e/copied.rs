//! Databases that come into the mount in other ways than through a connection of SQLite.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, PlainDirectory, assert_agreement, digest, until};

use crate::both::{both_ways, run, there};

const LIMIT: Duration = Duration::from_secs(120);
const ARRIVED: Duration = Duration::from_secs(20);
const COUNT: &str = "SELECT count(*) FROM t";

both_ways! {
    over_a_database_that_is_there
    into_a_database_that_is_there
    by_backup_and_by_vacuum_into
}

/// Without emptying the file first, as `rsync --inplace` does.
#[track_caller]
fn write_in_place(from: &Path, to: &Path) {
    let output = Command::new("dd")
        .args(["conv=notrunc", "bs=64K"])
        .arg(format!("if={}", from.display()))
        .arg(format!("of={}", to.display()))
        .output()
        .expect("dd runs");
    assert!(output.status.success(), "{output:?}");
}

#[track_caller]
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .args([from, to])
        .status()
        .expect("cp runs");
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

fn made(mode: &str, rows: u32) -> String {
    format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t(x) SELECT randomblob(3000) FROM n"
    )
}

fn over_a_database_that_is_there(passthrough: bool) {
    over(passthrough, false);
}

fn into_a_database_that_is_there(passthrough: bool) {
    over(passthrough, true);
}

/// From each mode to each, larger and smaller. A reader on the replica keeps its connection.
fn over(passthrough: bool, in_place: bool) {
    for (old, new) in [
        ("delete", "delete"),
        ("wal", "delete"),
        ("wal", "wal"),
        ("delete", "wal"),
    ] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let outside = PlainDirectory::new(&cluster.stage, "outside");
        let database = cluster.primary.database("app");
        run(&database, &made(old, 50));
        assert_agreement(&cluster, "app");
        let mut reader = Session::open(
            cluster.stage.tag(),
            &cluster.replica().database("app"),
            Access::ReadWrite,
        );
        assert_eq!(reader.value(COUNT), "50");
        for rows in [300, 7] {
            let source = outside.database(&format!("source{rows}"));
            run(&source, &made(new, rows));
            if in_place {
                write_in_place(&source, &database);
            } else {
                copy(&source, &database);
            }
            until(
                ARRIVED,
                &format!("{old}, then {new}: the copy arrives"),
                || reader.value(COUNT) == rows.to_string(),
            );
            assert_agreement(&cluster, "app");
            assert_eq!(digest(&cluster.replica().database("app")), digest(&source));
            run(&database, "INSERT INTO t(x) VALUES (1)");
            assert_agreement(&cluster, "app");
        }
        assert_eq!(reader.value(COUNT), "8");
    }
}

fn by_backup_and_by_vacuum_into(passthrough: bool) {
    for mode in ["delete", "wal"] {
        let Some(cluster) = Cluster::pair_with(LIMIT, passthrough) else {
            return;
        };
        let outside = PlainDirectory::new(&cluster.stage, "outside");
        let [database, vacuumed, saved] =
            ["app", "vacuumed", "saved"].map(|name| cluster.primary.database(name));
        run(&database, &made(mode, 100));
        run(&database, &format!("VACUUM INTO '{}'", vacuumed.display()));
        run(&database, &format!(".backup {}", saved.display()));
        for name in ["app", "vacuumed", "saved"] {
            until(ARRIVED, "it is on the replica", || {
                cluster.replica().database(name).exists()
            });
            assert_agreement(&cluster, name);
            assert_eq!(there(&cluster, name, COUNT), "100");
        }
        // Over one that is there and open.
        let source = outside.database("source");
        run(&source, &made("delete", 5));
        let mut reader = Session::open(cluster.stage.tag(), &saved, Access::ReadWrite);
        assert_eq!(reader.value(COUNT), "100");
        run(&source, &format!(".backup {}", saved.display()));
        assert_eq!(reader.value(COUNT), "5");
        assert_agreement(&cluster, "saved");
        assert_eq!(there(&cluster, "saved", COUNT), "5");
    }
}
