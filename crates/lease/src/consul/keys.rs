//! The keys of a lease, and what a listing of them says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api::Entry;
use super::pieces;
use crate::leaser::{Seen, SessionId, Survey, Version};
use crate::record::{LastEpoch, Positions, Post};
use crate::stored;

/// The names of keys. The first is LiteFS's, and so is that of the cluster.
pub(super) struct Keys {
    /// The record of the lease.
    pub(super) record: String,
    /// The cluster id.
    pub(super) cluster_id: String,
    /// The last epoch.
    pub(super) epoch: String,
    candidates: String,
    /// What pieces of positions begin with.
    pub(super) positions: String,
}

impl Keys {
    pub(super) fn new(record: String) -> Keys {
        Keys {
            cluster_id: format!("{record}/clusterid"),
            epoch: format!("{record}/epoch"),
            candidates: format!("{record}/candidates/"),
            positions: format!("{record}/positions/"),
            record,
        }
    }

    /// A node's post.
    pub(super) fn candidate(&self, node_id: u64) -> String {
        format!("{}{node_id:016x}", self.candidates)
    }

    /// The further pieces of a post begin with this.
    pub(super) fn candidate_pieces(&self, node_id: u64) -> String {
        format!("{}{node_id:016x}/", self.candidates)
    }

    /// A piece of the published positions.
    pub(super) fn piece(&self, number: u64) -> String {
        format!("{}{number}", self.positions)
    }

    /// The number of a piece.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        key.strip_prefix(&self.positions)?.parse().ok()
    }

    /// The state of the record, given that of the epoch.
    pub(super) fn seen(&self, record: Option<&Entry>, epoch: Option<&Entry>) -> Seen {
        let index = |entry: &Entry| entry.modify_index;
        let (value, session) = record.map_or((&[][..], None), |entry| {
            (&entry.value[..], entry.session.clone().map(SessionId))
        });
        Seen {
            version: stored::version(record.map(index), epoch.map(index)),
            holder: stored::read_holder(value, session, &self.record),
        }
    }

    /// What a listing of all keys says.
    pub(super) fn survey(&self, entries: Vec<Entry>) -> Survey {
        let entries: BTreeMap<&str, &Entry> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        let get = |key: &str| entries.get(key).copied();
        let epoch = get(&self.epoch);
        let cluster_id = get(&self.cluster_id).map(|entry| text(&entry.value));
        Survey {
            seen: self.seen(get(&self.record), epoch),
            last_epoch: epoch.and_then(parse::<LastEpoch>),
            epoch_version: Version(epoch.map_or(0, |entry| entry.modify_index)),
            cluster_id: cluster_id.filter(|id| !id.is_empty()),
            posts: self.posts(&entries),
            positions: pieces::join(
                self.published(&entries)
                    .into_values()
                    .map(|(_, piece)| piece),
            ),
        }
    }

    /// The pieces of the published positions, each with its counter.
    pub(super) fn published(
        &self,
        entries: &BTreeMap<&str, &Entry>,
    ) -> BTreeMap<u64, (u64, Positions)> {
        let mut found = BTreeMap::new();
        for (key, entry) in entries {
            if let Some(number) = self.number(key) {
                // What cannot be read names no database; the next publication replaces it.
                let piece = pieces::decode(&entry.value).unwrap_or_default();
                found.insert(number, (entry.modify_index, piece));
            }
        }
        found
    }

    /// Posts that are whole, under the sessions that locked them. A post that no session has locked is nobody's.
    fn posts(&self, entries: &BTreeMap<&str, &Entry>) -> Vec<(Post, SessionId)> {
        let mut found = Vec::new();
        for (key, entry) in entries {
            let Some(id) = key.strip_prefix(&self.candidates) else {
                continue;
            };
            let (false, Some(session)) = (id.contains('/'), &entry.session) else {
                continue;
            };
            let Some(mut head) = parse::<PostHead>(entry) else {
                tracing::warn!(%key, "a candidate's post cannot be read");
                continue;
            };
            for number in 1..head.pieces {
                let piece = entries.get(format!("{key}/{number}").as_str());
                match piece.and_then(|entry| parse::<PostPiece>(entry)) {
                    Some(piece) if piece.of == head.this => {
                        head.post.positions.extend(piece.positions);
                    }
                    // It is being written.
                    _ => head.pieces = 0,
                }
            }
            if head.pieces > 0 {
                found.push((head.post, SessionId(session.clone())));
            }
        }
        found
    }
}

/// A post that is too great for one value has further pieces, written before it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PostHead {
    /// With the positions of the first piece.
    #[serde(flatten)]
    pub(super) post: Post,
    /// Of how many pieces this is the first.
    #[serde(default = "one")]
    pub(super) pieces: u64,
    /// Names this writing of it: its pieces belong together.
    #[serde(default)]
    pub(super) this: String,
}

fn one() -> u64 {
    1
}

/// A further piece.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PostPiece {
    /// Of which writing it is.
    pub(super) of: String,
    /// Databases.
    pub(super) positions: Positions,
}

fn parse<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    serde_json::from_slice(&entry.value).ok()
}

/// Plain text, as LiteFS writes it.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, session: Option<&str>) -> Entry {
        Entry {
            key: key.to_owned(),
            value: value.as_bytes().to_vec(),
            modify_index: 7,
            session: session.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_not_of_this_lease_or_not_whole_is_left_out() {
        let keys = Keys::new("k".to_owned());
        let post = |id: &str, more: &str| {
            format!(
                r#"{{"node-id":"{id}","hostname":"h","advertise-url":"u","epoch":1,"seen-epoch":1,
                "positions":{{}},"willing":true,"ballot":1{more}}}"#
            )
        };
        let survey = keys.survey(vec![
            entry("k2", "not ours", None),
            entry("k/clusterid", " LFSC1 \n", None),
            entry("k/epoch", "{}", None),
            entry("k/candidates/01", &post("01", ""), Some("s1")),
            entry("k/candidates/02", &post("02", ""), None),
            entry("k/candidates/03", "garbage", Some("s3")),
            entry(
                "k/candidates/04",
                &post("04", r#","pieces":2,"this":"x""#),
                Some("s4"),
            ),
            entry(
                "k/candidates/04/1",
                r#"{"of":"y","positions":{}}"#,
                Some("s4"),
            ),
            entry(
                "k/candidates/05",
                &post("05", r#","pieces":2,"this":"x""#),
                Some("s5"),
            ),
            entry(
                "k/candidates/05/1",
                r#"{"of":"x","positions":{"db":{"incarnation":"ff","txid":3}}}"#,
                Some("s5"),
            ),
            entry("k/positions/x", "[]", None),
            entry("k/positions/3", "garbage", None),
        ]);
        assert_eq!(survey.cluster_id.as_deref(), Some("LFSC1"));
        assert_eq!(
            (survey.last_epoch, survey.epoch_version),
            (None, Version(7))
        );
        let ids: Vec<u64> = survey.posts.iter().map(|(post, _)| post.node_id).collect();
        assert_eq!(ids, [1, 5]);
        assert_eq!(survey.posts[1].0.positions["db"].txid, 3);
    }
}
