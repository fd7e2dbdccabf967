//! Positions as values that Consul takes: a set of databases in pieces of a bounded size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{Place, Positions};

/// Databases in one piece.
const MOST_DATABASES: usize = 1000;

/// Bytes of JSON in one piece. In base64, and with what is around it, a transaction takes one such piece at least.
const MOST_BYTES: usize = 300 * 1024;

/// A database, as it stands in a piece.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    name: String,
    #[serde(flatten)]
    place: Place,
}

/// A piece as JSON: a list of `{name, incarnation, txid}`.
pub(super) fn encode(piece: &Positions) -> Result<Vec<u8>, serde_json::Error> {
    let lines = piece.iter().map(|(name, place)| Line {
        name: name.clone(),
        place: *place,
    });
    serde_json::to_vec(&lines.collect::<Vec<_>>())
}

/// Reads a piece; `None`: it is none.
pub(super) fn decode(value: &[u8]) -> Option<Positions> {
    let lines: Vec<Line> = serde_json::from_slice(value).ok()?;
    Some(
        lines
            .into_iter()
            .map(|line| (line.name, line.place))
            .collect(),
    )
}

/// Bytes that a database takes in a piece, at most.
fn size(name: &str) -> usize {
    /// `{"name":,"incarnation":"0123456789abcdef","txid":18446744073709551615},`
    const AROUND: usize = 80;
    // The quotes, and what stands for a character that JSON escapes.
    let text: usize = name
        .chars()
        .map(|c| match c {
            '"' | '\\' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        })
        .sum();
    AROUND + 2 + text
}

/// Cuts a set in pieces, in the order of the names.
pub(super) fn cut(positions: &Positions) -> Vec<Positions> {
    arrange(&BTreeMap::new(), positions).into_values().collect()
}

/// The pieces of a new set, such that a database that stands in a piece stays in it: then pieces can be written one
/// after the other, and whoever reads in between misses no database that is in the old set and in the new one.
/// A piece that is empty can be deleted.
pub(super) fn arrange(
    old: &BTreeMap<u64, Positions>,
    positions: &Positions,
) -> BTreeMap<u64, Positions> {
    let mut pieces: BTreeMap<u64, (usize, Positions)> = BTreeMap::new();
    let mut placed: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, piece) in old {
        pieces.insert(*number, (0, Positions::new()));
        for name in piece.keys() {
            placed.entry(name).or_insert(*number);
        }
    }
    let mut new = Vec::new();
    for (name, place) in positions {
        let Some(number) = placed.get(name.as_str()) else {
            new.push((name, place));
            continue;
        };
        let (bytes, piece) = pieces.entry(*number).or_default();
        *bytes += size(name);
        piece.insert(name.clone(), *place);
    }
    let mut new = new.into_iter().peekable();
    let mut number = 0;
    while let Some((name, place)) = new.peek() {
        let (bytes, piece) = pieces.entry(number).or_default();
        if piece.len() < MOST_DATABASES && *bytes + size(name) <= MOST_BYTES {
            *bytes += size(name);
            piece.insert((*name).clone(), **place);
            new.next();
        } else {
            number += 1;
        }
    }
    pieces
        .into_iter()
        .map(|(number, (_, piece))| (number, piece))
        .collect()
}

/// Everything in pieces that were read one by one or all at once. A database that stands in two is taken where it is
/// further.
pub(super) fn join(pieces: impl IntoIterator<Item = Positions>) -> Positions {
    let mut all = Positions::new();
    for (name, place) in pieces.into_iter().flatten() {
        let known = all.entry(name).or_insert(place);
        if known.txid < place.txid {
            *known = place;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: impl IntoIterator<Item = String>) -> Positions {
        let place = Place {
            incarnation: u64::MAX,
            txid: u64::MAX,
        };
        names.into_iter().map(|name| (name, place)).collect()
    }

    #[test]
    fn pieces_are_bounded_and_join_to_the_whole() {
        let many = set((0..3000).map(|i| format!("db-{i}")));
        let long = set((0..2000).map(|i| format!("{i}{}", "\u{1}".repeat(250))));
        for (positions, expected) in [(many, 3), (long, 10), (set([]), 0)] {
            let pieces = cut(&positions);
            assert!(pieces.len() >= expected, "{} pieces", pieces.len());
            for piece in &pieces {
                assert!(piece.len() <= MOST_DATABASES);
                let bytes = encode(piece).unwrap();
                assert!(bytes.len() <= MOST_BYTES + 2, "{} bytes", bytes.len());
                assert_eq!(decode(&bytes).as_ref(), Some(piece));
            }
            assert_eq!(join(pieces), positions);
        }
    }

    #[test]
    fn a_database_stays_in_its_piece() {
        let old: BTreeMap<u64, Positions> = (0..)
            .zip(cut(&set((0..2500).map(|i| format!("m{i:05}")))))
            .collect();
        // Half of them go, and new ones come whose names are before and after all others.
        let kept = (0..2500).filter(|i| i % 2 == 0).map(|i| format!("m{i:05}"));
        let come = (0..1000).flat_map(|i| [format!("a{i}"), format!("z{i}")]);
        let wanted = set(kept.chain(come));
        let new = arrange(&old, &wanted);
        for (number, piece) in &new {
            assert!(piece.len() <= MOST_DATABASES);
            for name in piece.keys().filter(|name| name.starts_with('m')) {
                assert!(old[number].contains_key(name), "{name} moved to {number}");
            }
        }
        assert_eq!(join(new.into_values()), wanted);
        let none = arrange(&old, &set([]));
        assert!(none.len() == old.len() && none.values().all(Positions::is_empty));
    }

    #[test]
    fn what_is_no_piece_is_told() {
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b""), None);
    }
}
