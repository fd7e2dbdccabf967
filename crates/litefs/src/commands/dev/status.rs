//! What every node says of itself, as a table.

use std::time::{Duration, Instant};

use crate::api_client::{ApiClient, DatabaseInfo, NodeInfo};

use super::cluster::Cluster;
use super::screen::Line;

/// How long a node may take to answer.
const DEADLINE: Duration = Duration::from_secs(3);

/// The latest of all nodes.
#[derive(Debug)]
pub(super) struct Statuses {
    nodes: Vec<NodeStatus>,
}

#[derive(Debug)]
struct NodeStatus {
    name: String,
    api: ApiClient,
    /// The last answer, or why there is none.
    info: Result<NodeInfo, String>,
    /// When the last answer came.
    at: Option<Instant>,
    /// Transactions per second of each database, in the order of `info`.
    rates: Vec<f64>,
}

impl Statuses {
    pub(super) fn new(cluster: &Cluster) -> anyhow::Result<Statuses> {
        let nodes = cluster.nodes().iter().map(|node| {
            Ok(NodeStatus {
                name: node.name.clone(),
                api: ApiClient::new(&node.url)?,
                info: Err("no answer yet".to_owned()),
                at: None,
                rates: Vec::new(),
            })
        });
        Ok(Statuses {
            nodes: nodes.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Asks all nodes.
    pub(super) async fn refresh(&mut self) {
        let mut asked = Vec::new();
        for node in &self.nodes {
            let api = node.api.clone();
            asked.push(tokio::spawn(
                async move { api.info::<NodeInfo>(DEADLINE).await },
            ));
        }
        for (node, answer) in self.nodes.iter_mut().zip(asked) {
            let answer = answer.await.map_err(anyhow::Error::new).flatten();
            node.take(answer.map_err(|error| format!("{error:#}")), Instant::now());
        }
    }

    /// The table, heading first.
    pub(super) fn lines(&self) -> Vec<Line> {
        let heading = row(
            "node",
            "role",
            ["database", "mode", "txid", "checksum", "tx/s", "lag", ""],
        );
        let heading = Line {
            text: heading,
            subject: String::new(),
            state: String::new(),
        };
        std::iter::once(heading)
            .chain(self.nodes.iter().flat_map(NodeStatus::lines))
            .collect()
    }
}

impl NodeStatus {
    fn take(&mut self, info: Result<NodeInfo, String>, now: Instant) {
        // Since an answer that counted from the same start; a database that was not in it had nothing.
        let elapsed = self.at.map(|at| (now - at).as_secs_f64());
        let elapsed = elapsed.filter(|&elapsed| elapsed > 0.0);
        let old = self.info.as_ref().map_or(&[][..], |info| &info.databases);
        let rate = |database: &DatabaseInfo| {
            let before = old.iter().find(|old| old.name == database.name);
            let since = transactions(database).saturating_sub(before.map_or(0, transactions));
            elapsed.map_or(0.0, |elapsed| since as f64 / elapsed)
        };
        self.rates = info.as_ref().map_or_else(
            |_| Vec::new(),
            |info| info.databases.iter().map(rate).collect(),
        );
        self.at = info.is_ok().then_some(now);
        self.info = info;
    }

    fn lines(&self) -> Vec<Line> {
        let note = |role: &str, note: &str| Line {
            text: row(&self.name, role, ["-", "-", "-", "-", "-", "-", note]),
            subject: self.name.clone(),
            state: format!("{role} {note}"),
        };
        match &self.info {
            Err(reason) => vec![note("-", reason)],
            Ok(info) if info.databases.is_empty() => vec![note(&info.role, "no database yet")],
            Ok(info) => {
                let rates = self.rates.iter();
                info.databases
                    .iter()
                    .zip(rates)
                    .map(|(database, &rate)| self.line(info, database, rate))
                    .collect()
            }
        }
    }

    fn line(&self, info: &NodeInfo, database: &DatabaseInfo, rate: f64) -> Line {
        let DatabaseInfo {
            name,
            mode,
            txid,
            checksum,
            ..
        } = database;
        let lag = lag(info, database);
        let connection = if info.role == "replica" {
            info.stream.as_str()
        } else {
            ""
        };
        let note = database.error.as_deref().unwrap_or(connection);
        let rate = format!("{rate:.1}");
        Line {
            text: row(
                &self.name,
                &info.role,
                [name, mode, txid, checksum, &rate, &lag, note],
            ),
            subject: format!("{}/{name}", self.name),
            state: format!("{} {mode} {txid} {checksum} {note}", info.role),
        }
    }
}

/// Transactions captured or applied there since its start.
fn transactions(database: &DatabaseInfo) -> u64 {
    database.commits + database.applied
}

/// How far a replica is behind: of the last transaction while it follows, of all once it no longer does.
fn lag(info: &NodeInfo, database: &DatabaseInfo) -> String {
    match (info.role.as_str(), info.lag) {
        ("replica", None) => "never in sync".to_owned(),
        ("replica", Some(lag)) if lag > 2000 => format!("{:.1} s", lag as f64 / 1000.0),
        ("replica", Some(_)) => format!("{} ms", database.lag_ms),
        _ => String::new(),
    }
}

fn row(
    node: &str,
    role: &str,
    [database, mode, txid, checksum, rate, lag, note]: [&str; 7],
) -> String {
    let row = format!(
        "{node:6} {role:8} {database:16} {mode:9} {txid:16}  {checksum:16} {rate:>9} {lag:>8}  {note}"
    );
    row.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(role: &str, txid: u64, lag: Option<u64>) -> NodeInfo {
        let database = DatabaseInfo {
            name: "app.db".to_owned(),
            txid: format!("{txid:016x}"),
            checksum: "9f630f5ae3060002".to_owned(),
            mode: "wal".to_owned(),
            commits: txid,
            applied: 0,
            lag_ms: 3,
            error: None,
        };
        NodeInfo {
            role: role.to_owned(),
            lag,
            stream: "connected".to_owned(),
            drained: true,
            databases: vec![database],
        }
    }

    fn node() -> NodeStatus {
        let api = ApiClient::new("http://127.0.0.1:1").unwrap();
        NodeStatus {
            name: "node2".to_owned(),
            api,
            info: Err("no answer yet".to_owned()),
            at: None,
            rates: Vec::new(),
        }
    }

    #[test]
    fn a_line_says_who_where_how_fast_and_how_far_behind() {
        let mut node = node();
        let start = Instant::now();
        assert_eq!(node.lines()[0].state, "- no answer yet");
        node.take(Ok(info("replica", 10, None)), start);
        assert!(
            node.lines()[0]
                .text
                .contains("   0.0 never in sync  connected"),
            "{}",
            node.lines()[0].text
        );
        node.take(
            Ok(info("replica", 30, Some(5))),
            start + Duration::from_secs(2),
        );
        let text = "node2  replica  app.db           wal       000000000000001e  9f630f5ae3060002      10.0     3 ms  connected";
        assert_eq!(node.lines()[0].text, text);
        node.take(
            Ok(info("primary", 30, Some(0))),
            start + Duration::from_secs(3),
        );
        let text = "node2  primary  app.db           wal       000000000000001e  9f630f5ae3060002       0.0";
        assert_eq!(node.lines()[0].text, text);
    }

    #[test]
    fn rates_start_again_after_a_gap() {
        let mut node = node();
        let start = Instant::now();
        node.take(Ok(info("primary", 10, Some(0))), start);
        node.take(Err("no answer".to_owned()), start + Duration::from_secs(1));
        assert!(node.rates.is_empty());
        node.take(
            Ok(info("primary", 90, Some(0))),
            start + Duration::from_secs(2),
        );
        assert_eq!(node.rates, [0.0]);
        // A restarted node counts from zero.
        node.take(
            Ok(info("primary", 1, Some(0))),
            start + Duration::from_secs(3),
        );
        assert_eq!(node.rates, [0.0]);
    }

    #[test]
    fn a_new_database_counts_from_zero() {
        let mut node = node();
        let start = Instant::now();
        let mut empty = info("primary", 0, Some(0));
        empty.databases.clear();
        node.take(Ok(empty), start);
        node.take(
            Ok(info("primary", 6, Some(0))),
            start + Duration::from_secs(2),
        );
        assert_eq!(node.rates, [3.0]);
    }

    #[test]
    fn a_replica_that_no_longer_follows_shows_how_long() {
        let info = info("replica", 1, Some(12_300));
        assert_eq!(lag(&info, &info.databases[0]), "12.3 s");
    }
}
