//! `litefs promote` and `litefs handoff`: who is to be the primary.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

use crate::api_client::ApiClient;
use crate::cli::{HandoffArgs, PromoteArgs};
use crate::say;

/// How long the node may take to say who its replicas are.
const INFO: Duration = Duration::from_secs(10);

/// The replicas in `/info`.
#[derive(Deserialize)]
struct Info {
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(rename = "nodeID")]
    node_id: String,
    hostname: String,
}

/// Makes a node the primary; returns when it is.
pub(crate) async fn promote(args: &PromoteArgs) -> anyhow::Result<()> {
    let client = ApiClient::new(&args.url)?;
    client.promote(args.force).await?;
    say(&format!("{} is the primary\n", client.base()));
    Ok(())
}

/// Has the primary hand over; returns when it has.
pub(crate) async fn hand_off(args: &HandoffArgs) -> anyhow::Result<()> {
    let client = ApiClient::new(&args.url)?;
    let target = match &args.node {
        Some(node) => Some(find(&client, node).await?),
        None => None,
    };
    client.handoff(target).await?;
    say(&format!("{} has handed over\n", client.base()));
    Ok(())
}

/// The number of a replica, by its host name or by that number.
async fn find(client: &ApiClient, node: &str) -> anyhow::Result<u64> {
    let info: Info = client.info(INFO).await?;
    let named =
        |replica: &&Replica| replica.hostname == node || replica.node_id.eq_ignore_ascii_case(node);
    let mut found = info.replicas.iter().filter(named);
    match (found.next(), found.next()) {
        (Some(replica), None) => u64::from_str_radix(&replica.node_id, 16)
            .with_context(|| format!("{} is not the number of a node", replica.node_id)),
        (Some(_), Some(_)) => Err(anyhow!(
            "several replicas are named {node}: name one by its node id"
        )),
        (None, _) => {
            let names: Vec<_> = info
                .replicas
                .iter()
                .map(|replica| format!("{} ({})", replica.hostname, replica.node_id))
                .collect();
            let connected = if names.is_empty() {
                "no replica is".to_owned()
            } else {
                format!("these are: {}", names.join(", "))
            };
            Err(anyhow!(
                "{node} is not connected to {}; {connected}",
                client.base()
            ))
        }
    }
}
