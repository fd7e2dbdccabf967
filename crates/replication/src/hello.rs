//! The handshake: what one side says of itself, and what it demands of the other.
//!
//! Pure: nothing here touches the store or the network.

use store::{ClusterId, DbName, Epoch};

use crate::error::{Error, Violation};
use crate::wire::printable;
use crate::{Refusal, RefusalReason, proto};

/// The protocol versions spoken here.
const PROTOCOL: Versions = Versions { min: 1, max: 1 };

/// The LTX versions read and written here.
const LTX: Versions = Versions { min: 3, max: 3 };

/// Features known here. None exist beyond version 1 of the protocol.
const FEATURES: &[&str] = &[];

/// Longest host name of a peer, in bytes (RFC 1035 allows 253).
const HOSTNAME_MAX: usize = 255;

/// Most characters of a peer's text that are repeated in ours.
const ECHO_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Versions {
    min: u32,
    max: u32,
}

impl Versions {
    /// The highest version that both have.
    fn common(self, other: Versions) -> Option<u32> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

/// What this node says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node_id: u64,
    pub(crate) instance_id: u64,
    pub(crate) hostname: String,
    pub(crate) epoch: Epoch,
}

/// What the other side said of itself, checked.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) node_id: u64,
    pub(crate) instance_id: u64,
    pub(crate) hostname: String,
    pub(crate) epoch: Epoch,
    pub(crate) heartbeat_ms: u32,
    pub(crate) candidate: bool,
}

/// Which databases a replica wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter(Vec<DbName>);

impl Filter {
    /// Only these; none means all.
    pub(crate) fn new(mut names: Vec<DbName>) -> Filter {
        names.sort();
        names.dedup();
        Filter(names)
    }

    /// Whether it lets this database through.
    pub(crate) fn passes(&self, name: &DbName) -> bool {
        self.0.is_empty() || self.0.binary_search(name).is_ok()
    }

    /// As it goes into a hello.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(DbName::to_string).collect()
    }
}

impl TryFrom<&[String]> for Filter {
    type Error = Violation;

    fn try_from(names: &[String]) -> Result<Filter, Violation> {
        let names = names
            .iter()
            .map(|name| DbName::new(name))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Filter::new(names))
    }
}

impl Introduction {
    /// The message, without what only one side says.
    pub(crate) fn to_hello(&self) -> proto::Hello {
        proto::Hello {
            protocol_min: PROTOCOL.min,
            protocol_max: PROTOCOL.max,
            optional_features: FEATURES.iter().map(ToString::to_string).collect(),
            cluster_id: self
                .cluster
                .as_ref()
                .map(ClusterId::to_string)
                .unwrap_or_default(),
            node_id: self.node_id,
            instance_id: self.instance_id,
            hostname: self.hostname.clone(),
            epoch: self.epoch.get(),
            ltx_version_min: LTX.min,
            ltx_version_max: LTX.max,
            ..proto::Hello::default()
        }
    }

    /// What the primary demands of a replica.
    pub(crate) fn check_replica(&self, hello: &proto::Hello) -> Result<Peer, Error> {
        let peer = self.check(hello)?;
        if self.cluster.is_none()
            && let Some(theirs) = &peer.cluster
        {
            return Err(refuse(
                RefusalReason::Cluster,
                format!("the replica belongs to cluster {theirs}, the primary has no cluster id"),
            ));
        }
        if peer.epoch > self.epoch {
            return Err(refuse(
                RefusalReason::StaleEpoch,
                format!(
                    "the replica has followed epoch {}, the primary's is {}",
                    peer.epoch, self.epoch
                ),
            ));
        }
        Ok(peer)
    }

    /// What a replica demands of the primary.
    pub(crate) fn check_primary(&self, hello: &proto::Hello) -> Result<Peer, Error> {
        let peer = self.check(hello)?;
        if peer.cluster.is_none()
            && let Some(ours) = &self.cluster
        {
            return Err(refuse(
                RefusalReason::Cluster,
                format!("the primary has no cluster id, the replica belongs to {ours}"),
            ));
        }
        if peer.epoch < self.epoch {
            return Err(refuse(
                RefusalReason::StaleEpoch,
                format!(
                    "the primary's epoch {} is older than {}, which was seen already",
                    peer.epoch, self.epoch
                ),
            ));
        }
        Ok(peer)
    }

    fn check(&self, hello: &proto::Hello) -> Result<Peer, Error> {
        check_versions(hello)?;
        self.check_identity(hello)?;
        let cluster = self.check_cluster(&hello.cluster_id)?;
        if hello.hostname.len() > HOSTNAME_MAX {
            return Err(field(
                "hello.hostname",
                format!("longer than {HOSTNAME_MAX} bytes"),
            ));
        }
        Ok(Peer {
            cluster,
            node_id: hello.node_id,
            instance_id: hello.instance_id,
            hostname: printable(&hello.hostname, HOSTNAME_MAX),
            epoch: Epoch::new(hello.epoch),
            heartbeat_ms: hello.heartbeat_ms,
            candidate: hello.candidate,
        })
    }

    /// The other is neither this process nor a copy of its data directory.
    pub(crate) fn check_identity(&self, hello: &proto::Hello) -> Result<(), Error> {
        if hello.node_id == 0 || hello.instance_id == 0 {
            return Err(field("hello.node_id, instance_id", "missing".to_owned()));
        }
        if hello.node_id != self.node_id {
            return Ok(());
        }
        Err(if hello.instance_id == self.instance_id {
            refuse(
                RefusalReason::OwnSelf,
                format!("node {:016x} is connected to itself", self.node_id),
            )
        } else {
            refuse(
                RefusalReason::Clone,
                format!(
                    "both nodes have the id {:016x}: one data directory is a copy of the other's; \
                     remove the file with the node id from the copy",
                    self.node_id
                ),
            )
        })
    }

    fn check_cluster(&self, theirs: &str) -> Result<Option<ClusterId>, Error> {
        if theirs.is_empty() {
            return Ok(None);
        }
        let theirs: ClusterId = theirs.parse().map_err(|_| {
            field(
                "hello.cluster_id",
                format!("{:?} is none", printable(theirs, ECHO_MAX)),
            )
        })?;
        match &self.cluster {
            Some(ours) if *ours != theirs => Err(refuse(
                RefusalReason::Cluster,
                format!("the peer belongs to cluster {theirs}, this node to {ours}"),
            )),
            _ => Ok(Some(theirs)),
        }
    }
}

fn check_versions(hello: &proto::Hello) -> Result<(), Error> {
    let theirs = Versions {
        min: hello.protocol_min,
        max: hello.protocol_max,
    };
    if PROTOCOL.common(theirs).is_none() {
        return Err(refuse(
            RefusalReason::Protocol,
            format!(
                "protocol versions {} to {} are spoken here, the peer speaks {} to {}",
                PROTOCOL.min, PROTOCOL.max, theirs.min, theirs.max
            ),
        ));
    }
    if let Some(unknown) = hello
        .required_features
        .iter()
        .find(|name| !FEATURES.contains(&name.as_str()))
    {
        let name = printable(unknown, ECHO_MAX);
        return Err(refuse(
            RefusalReason::Feature,
            format!("the peer requires the feature {name:?}, which is not known here"),
        ));
    }
    let theirs = Versions {
        min: hello.ltx_version_min,
        max: hello.ltx_version_max,
    };
    if LTX.common(theirs).is_none() {
        return Err(refuse(
            RefusalReason::LtxVersion,
            format!(
                "LTX versions {} to {} are known here, the peer has {} to {}",
                LTX.min, LTX.max, theirs.min, theirs.max
            ),
        ));
    }
    Ok(())
}

fn refuse(reason: RefusalReason, text: String) -> Error {
    Error::Refusing(Refusal::new(reason, text))
}

fn field(field: &'static str, reason: String) -> Error {
    Error::Violation(Violation::Field { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> Introduction {
        Introduction {
            cluster: None,
            node_id: id,
            instance_id: 100 + id,
            hostname: format!("node{id}"),
            epoch: Epoch::new(5),
        }
    }

    fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> RefusalReason {
        match result {
            Err(Error::Refusing(refusal)) => refusal.reason,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn two_different_nodes_of_the_same_kind_agree() {
        let peer = node(1).check_replica(&node(2).to_hello()).unwrap();
        assert_eq!(
            (peer.node_id, peer.instance_id, peer.hostname.as_str()),
            (2, 102, "node2")
        );
        assert_eq!(
            node(2).check_primary(&node(1).to_hello()).unwrap().epoch,
            Epoch::new(5)
        );
    }

    #[test]
    fn oneself_and_copies_of_oneself_are_refused() {
        assert_eq!(
            reason(node(1).check_replica(&node(1).to_hello())),
            RefusalReason::OwnSelf
        );
        let copy = Introduction {
            instance_id: 7,
            ..node(1)
        };
        assert_eq!(
            reason(node(1).check_replica(&copy.to_hello())),
            RefusalReason::Clone
        );
        assert_eq!(
            reason(node(1).check_primary(&copy.to_hello())),
            RefusalReason::Clone
        );
    }

    #[test]
    fn another_cluster_is_refused_by_both_sides() {
        let (a, b) = (ClusterId::random(), ClusterId::random());
        let with = |id: u64, cluster: &ClusterId| Introduction {
            cluster: Some(cluster.clone()),
            ..node(id)
        };
        assert_eq!(
            reason(with(1, &a).check_replica(&with(2, &b).to_hello())),
            RefusalReason::Cluster
        );
        assert_eq!(
            reason(with(2, &b).check_primary(&with(1, &a).to_hello())),
            RefusalReason::Cluster
        );
        // A replica without an id learns it; a primary without one could be an empty newcomer.
        assert_eq!(
            node(2)
                .check_primary(&with(1, &a).to_hello())
                .unwrap()
                .cluster,
            Some(a.clone())
        );
        assert!(with(1, &a).check_replica(&node(2).to_hello()).is_ok());
        assert_eq!(
            reason(with(2, &a).check_primary(&node(1).to_hello())),
            RefusalReason::Cluster
        );
        assert_eq!(
            reason(node(1).check_replica(&with(2, &a).to_hello())),
            RefusalReason::Cluster
        );
    }

    #[test]
    fn versions_and_features_must_meet() {
        let with = |change: fn(&mut proto::Hello)| {
            let mut hello = node(2).to_hello();
            change(&mut hello);
            node(1).check_replica(&hello)
        };
        assert!(with(|h| h.protocol_max = 9).is_ok());
        assert!(with(|h| h.optional_features.push("teleport".into())).is_ok());
        assert_eq!(
            reason(with(|h| (h.protocol_min, h.protocol_max) = (2, 3))),
            RefusalReason::Protocol
        );
        assert_eq!(
            reason(with(|h| (h.ltx_version_min, h.ltx_version_max) = (1, 2))),
            RefusalReason::LtxVersion
        );
        let refused = with(|h| h.required_features.push("teleport".into()));
        assert!(
            refused
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("\"teleport\"")
        );
        assert_eq!(reason(refused), RefusalReason::Feature);
    }

    #[test]
    fn a_lower_epoch_is_refused_by_the_replica_and_a_higher_one_by_the_primary() {
        let at = |id: u64, epoch: u64| Introduction {
            epoch: Epoch::new(epoch),
            ..node(id)
        };
        assert_eq!(
            reason(at(2, 6).check_primary(&at(1, 5).to_hello())),
            RefusalReason::StaleEpoch
        );
        assert_eq!(
            reason(at(1, 5).check_replica(&at(2, 6).to_hello())),
            RefusalReason::StaleEpoch
        );
        assert!(at(1, 6).check_replica(&at(2, 0).to_hello()).is_ok());
    }

    #[test]
    fn garbage_in_a_hello_is_a_violation() {
        let with = |change: fn(&mut proto::Hello)| {
            let mut hello = node(2).to_hello();
            change(&mut hello);
            node(1).check_replica(&hello)
        };
        assert!(matches!(with(|h| h.node_id = 0), Err(Error::Violation(_))));
        assert!(matches!(
            with(|h| h.cluster_id = "../x".into()),
            Err(Error::Violation(_))
        ));
        assert!(matches!(
            with(|h| h.hostname = "x".repeat(256)),
            Err(Error::Violation(_))
        ));
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        let name = |text: &str| DbName::new(text).unwrap();
        assert!(Filter::default().passes(&name("a")));
        let filter = Filter::new(vec![name("b"), name("a"), name("b")]);
        assert!(
            filter.passes(&name("a")) && filter.passes(&name("b")) && !filter.passes(&name("c"))
        );
        assert_eq!(filter.names(), ["a", "b"]);
        assert!(Filter::try_from(&["../x".to_owned()][..]).is_err());
    }
}
