//! A database of more than 1 GiB: it has the page with SQLite's lock bytes, which has no content.

use std::time::Duration;

use harness::client::{Access, Session};
use harness::{Cluster, await_same_position, digest, until};

const LIMIT: Duration = Duration::from_secs(500);
const ARRIVED: Duration = Duration::from_secs(200);

#[test]
#[ignore = "takes a minute and 5 GiB of disk"]
fn more_than_one_gibibyte() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let database = cluster.primary.database("app");
    let mut session = Session::open(cluster.stage.tag(), &database, Access::Create);
    session.rows(
        "PRAGMA page_size = 65536; PRAGMA cache_size = 100; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1040)
           INSERT INTO t(x) SELECT zeroblob(1 << 20) FROM n",
    );
    let pages: u64 = session
        .value("PRAGMA page_count")
        .parse()
        .expect("a number");
    assert!(pages > (1 << 30) / 65536 + 100, "{pages} pages");
    session.rows("UPDATE t SET x = randomblob(200000) WHERE id > 1030");
    session.rows("PRAGMA journal_mode = wal");
    session.rows("UPDATE t SET x = randomblob(100000) WHERE id > 1030");
    until(ARRIVED, "the replica has it", || {
        cluster.primary.pos("app") == cluster.replica().pos("app")
    });
    let pos = await_same_position(&cluster.primary, cluster.replica(), "app");
    assert_eq!(pos.txid, 5);
    session.close();
    assert_eq!(
        digest(&cluster.replica().database("app")),
        digest(&database)
    );
}
