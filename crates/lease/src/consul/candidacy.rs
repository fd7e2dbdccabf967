//! The post of a candidate: one value, or several if it has many databases.

use std::sync::Arc;

use super::api::{Api, MOST_VALUE, Op, Txn};
use super::keys::{Keys, PostHead, PostPiece};
use super::{pieces, publish};
use crate::error::Error;
use crate::record::{Positions, Post};

/// Writes posts.
pub(super) struct Candidacy {
    api: Arc<Api>,
    keys: Arc<Keys>,
}

impl Candidacy {
    pub(super) fn new(api: Arc<Api>, keys: Arc<Keys>) -> Candidacy {
        Candidacy { api, keys }
    }

    /// Posts under that session. What an earlier session of this node has locked is replaced. Refused: why.
    pub(super) async fn post(&self, session: &str, post: &Post) -> Result<Txn, Error> {
        let mut done = Vec::new();
        for batch in publish::batches(self.ops(session, post)?) {
            match self.api.txn(&batch).await? {
                Txn::Done(results) => done.extend(results),
                refused @ Txn::Refused(_) => return Ok(refused),
            }
        }
        Ok(Txn::Done(done))
    }

    /// Takes the post of that node back.
    pub(super) async fn unpost(&self, node_id: u64) -> Result<(), Error> {
        match self.api.txn(&self.clear(node_id)).await? {
            Txn::Done(_) => Ok(()),
            Txn::Refused(why) => Err(Error::Answer(format!(
                "consul at {}: the post is not deleted: {why}",
                self.api.place()
            ))),
        }
    }

    fn clear(&self, node_id: u64) -> [Op; 2] {
        [
            Op::delete(&self.keys.candidate(node_id)),
            Op::delete_tree(&self.keys.candidate_pieces(node_id)),
        ]
    }

    /// The further pieces come first: a post whose head is there has them all.
    fn ops(&self, session: &str, post: &Post) -> Result<Vec<Op>, Error> {
        let mut ops = self.clear(post.node_id).to_vec();
        let pieces = pieces::cut(&post.positions);
        let this = format!("{:016x}", rand::random::<u64>());
        for (number, positions) in (0..).zip(&pieces).skip(1) {
            let key = format!("{}{number}", self.keys.candidate_pieces(post.node_id));
            let piece = PostPiece {
                of: this.clone(),
                positions: positions.clone(),
            };
            ops.push(Op::lock(&key, session, &json(&piece)?));
        }
        let head = PostHead {
            post: Post {
                positions: pieces.first().cloned().unwrap_or_else(Positions::new),
                ..post.clone()
            },
            pieces: pieces.len().max(1) as u64,
            this,
        };
        let key = self.keys.candidate(post.node_id);
        ops.push(Op::lock(&key, session, &json(&head)?));
        Ok(ops)
    }
}

/// A value, unless it is greater than Consul takes.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::Answer(format!("a value for consul as JSON: {error}")))?;
    // A transaction carries it in base64.
    if text.len() > MOST_VALUE / 4 * 3 - 1024 {
        return Err(Error::Answer(format!(
            "a value of {} bytes is greater than consul takes",
            text.len()
        )));
    }
    Ok(text)
}
