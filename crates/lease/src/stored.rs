//! What the texts in a lease store mean, whichever store it is.

use serde::Deserialize;

use crate::leaser::{Holder, SessionId, Version};
use crate::record::Record;

/// As much of a foreign text as is shown to people, in characters.
const SHOWN: usize = 80;

/// Who holds the lease, by the value at its key. An empty value: it was released.
pub(crate) fn read_holder(value: &[u8], session: Option<SessionId>, key: &str) -> Holder {
    if value.is_empty() {
        return Holder::Vacant;
    }
    match serde_json::from_slice::<Record>(value) {
        Ok(record) => Holder::Node(record, session),
        Err(_) => Holder::Foreign(describe_foreign(value, key)),
    }
}

/// What a record of LiteFS has.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OfLitefs {
    hostname: String,
    #[expect(
        dead_code,
        reason = "it is there in a record of LiteFS, and is not shown"
    )]
    advertise_url: String,
    epoch: Option<serde_json::Value>,
}

fn describe_foreign(value: &[u8], key: &str) -> String {
    match serde_json::from_slice::<OfLitefs>(value) {
        Ok(OfLitefs {
            hostname,
            epoch: None,
            ..
        }) => format!("a node of LiteFS (hostname {hostname}) holds the lease at key {key}"),
        Ok(OfLitefs { hostname, .. }) => format!(
            "a node of another version (hostname {hostname}) holds the lease at key {key}, and its record is not understood"
        ),
        Err(_) => {
            let text: String = String::from_utf8_lossy(value).chars().take(SHOWN).collect();
            format!("something that is no record of a lease is at key {key}: {text:?}")
        }
    }
}

/// Names a state of the record by the store's counters of changes.
///
/// A record that is there is named by its own counter. One that is absent has none: it is named by that of the epoch,
/// which every acquisition changes, so that two vacancies with a lease between them are two states. No number is
/// both: the first are even, the second odd.
pub(crate) fn version(record: Option<u64>, epoch: Option<u64>) -> Version {
    match record {
        Some(counter) => Version(counter << 1),
        None => Version(epoch.unwrap_or(0) << 1 | 1),
    }
}

/// The counter of the record in that state; `None`: it was absent.
pub(crate) fn counter(version: Version) -> Option<u64> {
    (version.0 & 1 == 0).then_some(version.0 >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ours_from_those_of_litefs_and_from_anything_else() {
        let ours = r#"{"hostname":"a","advertise-url":"http://a:1","node-id":"00000000000000ff","boot-id":"b",
            "cluster-id":"c","epoch":3,"n":4,"ttl-ms":5}"#;
        let Holder::Node(record, None) = read_holder(ours.as_bytes(), None, "k") else {
            panic!("not ours");
        };
        assert_eq!((record.node_id, record.epoch), (255, 3));
        assert_eq!(read_holder(b"", None, "k"), Holder::Vacant);
        for (value, expected) in [
            (
                r#"{"hostname":"h","advertise-url":"http://h:1"}"#,
                "a node of LiteFS (hostname h) holds the lease at key k",
            ),
            (
                r#"{"hostname":"h","advertise-url":"http://h:1","epoch":7}"#,
                "a node of another version (hostname h) holds the lease at key k, and its record is not understood",
            ),
            (
                "hello",
                "something that is no record of a lease is at key k: \"hello\"",
            ),
        ] {
            let holder = read_holder(value.as_bytes(), None, "k");
            assert_eq!(holder, Holder::Foreign(expected.to_owned()));
        }
    }

    #[test]
    fn a_state_has_a_name_of_its_own() {
        assert_ne!(version(Some(10), Some(10)), version(None, Some(10)));
        assert_ne!(version(None, None), Version::default());
        assert_eq!(counter(version(Some(10), None)), Some(10));
        assert_eq!(counter(version(None, Some(10))), None);
    }
}
