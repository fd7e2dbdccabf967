//! The published positions: written in pieces, only where they changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::api::{Api, Entry, MOST_OPS, MOST_VALUE, Op, Txn};
use super::keys::Keys;
use super::pieces;
use crate::error::Error;
use crate::leaser::{Outcome, Version};
use crate::record::Positions;
use crate::stored;

/// What stands in Consul, by the number of the piece: its counter and its databases.
type Pieces = BTreeMap<u64, (u64, Positions)>;

/// Writes positions as the holder of the lease.
pub(super) struct Publisher {
    api: Arc<Api>,
    keys: Arc<Keys>,
    /// What was last seen there; `None`: to be read.
    known: Mutex<Option<Pieces>>,
}

impl Publisher {
    pub(super) fn new(api: Arc<Api>, keys: Arc<Keys>) -> Publisher {
        Publisher {
            api,
            keys,
            known: Mutex::new(None),
        }
    }

    /// Makes what stands there that set. Every transaction checks that `session` holds the lease, and that nobody else
    /// has written a piece since it was read.
    pub(super) async fn publish(
        &self,
        session: &str,
        positions: &Positions,
    ) -> Result<Outcome, Error> {
        let mut known = self.known.lock().await;
        // What is known from an earlier term may be out of date: then it is refused, and read anew.
        let remembered = known.take();
        let fresh = remembered.is_none();
        let pieces = match remembered {
            Some(pieces) => pieces,
            None => self.read().await?,
        };
        let (mut outcome, mut left) = self.write(session, pieces, positions).await?;
        if outcome == Outcome::Refused && !fresh {
            let pieces = self.read().await?;
            (outcome, left) = self.write(session, pieces, positions).await?;
        }
        if outcome != Outcome::Refused {
            *known = Some(left);
        }
        Ok(outcome)
    }

    async fn read(&self) -> Result<Pieces, Error> {
        let entries = self.api.tree(&self.keys.positions).await?;
        let by_key: BTreeMap<&str, &Entry> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry))
            .collect();
        Ok(self.keys.published(&by_key))
    }

    async fn write(
        &self,
        session: &str,
        mut pieces: Pieces,
        positions: &Positions,
    ) -> Result<(Outcome, Pieces), Error> {
        let old = pieces
            .iter()
            .map(|(number, (_, piece))| (*number, piece.clone()))
            .collect();
        let wanted = pieces::arrange(&old, positions);
        let mut version = Version::default();
        for ops in batches(self.ops(&pieces, &wanted)?) {
            let mut all = vec![Op::check_session(&self.keys.record, session)];
            all.extend(ops);
            let results = match self.api.txn(&all).await? {
                Txn::Done(results) => results,
                Txn::Refused(why) => {
                    tracing::debug!(why, "the publication of positions is refused");
                    return Ok((Outcome::Refused, pieces));
                }
            };
            for (key, index) in results {
                if key == self.keys.record {
                    version = stored::version(Some(index), None);
                } else if let Some(number) = self.keys.number(&key) {
                    let piece = wanted.get(&number).cloned().unwrap_or_default();
                    pieces.insert(number, (index, piece));
                }
            }
        }
        pieces.retain(|number, _| wanted.get(number).is_some_and(|piece| !piece.is_empty()));
        Ok((Outcome::Done(version), pieces))
    }

    fn ops(&self, pieces: &Pieces, wanted: &BTreeMap<u64, Positions>) -> Result<Vec<Op>, Error> {
        let mut ops = Vec::new();
        for (number, piece) in wanted {
            let key = self.keys.piece(*number);
            let (index, same) = pieces
                .get(number)
                .map_or((0, false), |(index, old)| (*index, old == piece));
            if piece.is_empty() {
                if index > 0 {
                    ops.push(Op::delete_cas(&key, index));
                }
            } else if same {
                ops.push(Op::check_index(&key, index));
            } else {
                let value = pieces::encode(piece)
                    .map_err(|error| Error::Answer(format!("positions as JSON: {error}")))?;
                ops.push(Op::cas(&key, index, &value));
            }
        }
        Ok(ops)
    }
}

/// Operations in transactions that Consul takes, with room for one more operation in each. One at least.
pub(super) fn batches(ops: Vec<Op>) -> Vec<Vec<Op>> {
    const ROOM: usize = 4096;
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for op in ops {
        let full = bytes + op.len() > MOST_VALUE - ROOM;
        match batches.last_mut() {
            Some(batch) if !full && batch.len() < MOST_OPS - 1 => {
                bytes += op.len();
                batch.push(op);
            }
            _ => {
                bytes = op.len();
                batches.push(vec![op]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_bounded() {
        assert_eq!(batches(vec![]), [vec![]]);
        let small: Vec<Op> = (0..200).map(|i| Op::delete(&format!("k{i}"))).collect();
        let lens: Vec<usize> = batches(small).iter().map(Vec::len).collect();
        assert_eq!(lens, [63, 63, 63, 11]);
        let great: Vec<Op> = (0..3).map(|_| Op::set("k", &[0; 150 * 1024])).collect();
        for batch in batches(great) {
            let bytes: usize = batch.iter().map(Op::len).sum();
            assert!(bytes <= MOST_VALUE, "{bytes} bytes");
        }
    }
}
