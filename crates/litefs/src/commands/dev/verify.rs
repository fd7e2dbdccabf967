//! Whether all nodes have the same databases, byte for byte.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::Response;

use super::cluster::Cluster;
use crate::api_client::{ApiClient, DatabaseInfo, NodeInfo, position};

/// How long the nodes may take to come to the same positions.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the positions.
const RETRY: Duration = Duration::from_millis(100);
/// How long a node may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits until all nodes have the same positions, then compares their exports. An error says what differs.
pub(super) async fn all_equal(cluster: &Cluster) -> anyhow::Result<String> {
    let nodes = cluster
        .nodes()
        .iter()
        .map(|node| anyhow::Ok((node.name.as_str(), ApiClient::new(&node.url)?)));
    let nodes: Vec<_> = nodes.collect::<anyhow::Result<_>>()?;
    let databases = same_positions(&nodes).await?;
    let mut text = String::new();
    for database in &databases {
        let [(_, primary), replicas @ ..] = nodes.as_slice() else {
            break;
        };
        for (name, replica) in replicas {
            let size = same_bytes(primary, replica, &database.name)
                .await
                .with_context(|| format!("{} of node1 and {name}", database.name))?;
            let DatabaseInfo {
                name: database,
                txid,
                checksum,
                ..
            } = database;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {name:6} {database} equals the primary's: {size} bytes at {txid}/{checksum}"
            );
        }
    }
    Ok(text)
}

/// The databases of the primary, once all nodes have them at the same positions.
async fn same_positions(nodes: &[(&str, ApiClient)]) -> anyhow::Result<Vec<DatabaseInfo>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut all = Vec::new();
        for (name, api) in nodes {
            let info: NodeInfo = api
                .info(DEADLINE)
                .await
                .with_context(|| (*name).to_owned())?;
            all.push((*name, info));
        }
        match difference(&all) {
            None => {
                return Ok(all
                    .into_iter()
                    .next()
                    .map(|(_, info)| info.databases)
                    .unwrap_or_default());
            }
            Some(difference) if Instant::now() > deadline => {
                bail!("the nodes differ: {difference}")
            }
            Some(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// The first database that is not the same everywhere.
fn difference(all: &[(&str, NodeInfo)]) -> Option<String> {
    let [(_, primary), replicas @ ..] = all else {
        return None;
    };
    let position = |database: &DatabaseInfo| format!("{}/{}", database.txid, database.checksum);
    if !primary.drained {
        return Some("node1 does not answer with all that is committed".to_owned());
    }
    for (name, replica) in replicas {
        for expected in &primary.databases {
            let found = replica
                .databases
                .iter()
                .find(|database| database.name == expected.name)
                .map(position);
            if found.as_deref() != Some(&position(expected)) {
                let found = found.as_deref().unwrap_or("missing");
                return Some(format!(
                    "{} is {} on node1 and {found} on {name}",
                    expected.name,
                    position(expected)
                ));
            }
        }
        if replica.databases.len() != primary.databases.len() {
            return Some(format!("{name} has databases that node1 has not"));
        }
    }
    None
}

/// Exports a database from two nodes and compares it; returns its size in bytes.
async fn same_bytes(first: &ApiClient, second: &ApiClient, database: &str) -> anyhow::Result<u64> {
    let mut first = Export::begin(first, database).await?;
    let mut second = Export::begin(second, database).await?;
    let mut offset = 0;
    loop {
        let (left, right) = (first.available().await?, second.available().await?);
        let length = left.len().min(right.len());
        if let Some(at) = left
            .iter()
            .zip(right)
            .position(|(left, right)| left != right)
        {
            bail!("the exports differ at byte {}", offset + at as u64);
        }
        if length == 0 && left.len() != right.len() {
            bail!("the exports differ: one ends at byte {offset}");
        }
        if length == 0 {
            return Ok(offset);
        }
        first.used += length;
        second.used += length;
        offset += length as u64;
    }
}

/// A database on its way here.
struct Export {
    answer: Response,
    chunk: Vec<u8>,
    used: usize,
}

impl Export {
    async fn begin(api: &ApiClient, database: &str) -> anyhow::Result<Export> {
        let answer = api.export(database).await?;
        // The nodes were at rest at equal positions: whoever writes now is no part of the load.
        position(&answer).with_context(|| {
            format!(
                "{} does not say at which position its export is",
                api.base()
            )
        })?;
        Ok(Export {
            answer,
            chunk: Vec::new(),
            used: 0,
        })
    }

    /// The bytes that are not used yet: none only at the end.
    async fn available(&mut self) -> anyhow::Result<&[u8]> {
        while self.used == self.chunk.len() {
            match self.answer.chunk().await? {
                Some(chunk) => (self.chunk, self.used) = (chunk.to_vec(), 0),
                None => break,
            }
        }
        Ok(&self.chunk[self.used..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(databases: &[(&str, &str)]) -> NodeInfo {
        let database = |&(name, txid): &(&str, &str)| DatabaseInfo {
            name: name.to_owned(),
            txid: txid.to_owned(),
            checksum: "c".to_owned(),
            mode: "wal".to_owned(),
            commits: 0,
            applied: 0,
            lag_ms: 0,
            error: None,
        };
        let databases = databases.iter().map(database).collect();
        NodeInfo {
            role: "primary".to_owned(),
            lag: Some(0),
            stream: String::new(),
            drained: true,
            databases,
        }
    }

    #[test]
    fn a_difference_is_named() {
        let both = |first: &[_], second: &[_]| {
            difference(&[("node1", info(first)), ("node2", info(second))])
        };
        assert_eq!(both(&[], &[]), None);
        assert_eq!(
            both(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]),
            None
        );
        let said = both(&[("a", "1")], &[("a", "2")]);
        assert_eq!(said.as_deref(), Some("a is 1/c on node1 and 2/c on node2"));
        assert_eq!(
            both(&[("a", "1")], &[]).as_deref(),
            Some("a is 1/c on node1 and missing on node2")
        );
        assert_eq!(
            both(&[], &[("a", "1")]).as_deref(),
            Some("node2 has databases that node1 has not")
        );
        let mut undrained = info(&[]);
        undrained.drained = false;
        assert!(difference(&[("node1", undrained)]).is_some());
    }
}
