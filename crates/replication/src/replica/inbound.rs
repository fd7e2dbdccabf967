//! Checks that what the primary sends fits together, before any of it is believed. Without network or store.

use std::collections::HashMap;

use bytes::Bytes;
use ltx::TxId;
use store::{DbName, History, Incarnation};

use crate::error::Violation;
use crate::hello::Filter;
use crate::proto;
use crate::wire::{CHUNK_MAX, DATABASES_MAX, history};

/// The beginning of an LTX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begins {
    /// Which database of that name it belongs to.
    pub(crate) incarnation: Incarnation,
    /// The primary knows that our position is none of its history.
    pub(crate) replaces_history: bool,
    /// Up to there it is, if that is known.
    pub(crate) common: Option<TxId>,
    /// The terms that wrote to the database, if they may have changed.
    pub(crate) history: Option<History>,
}

/// A piece of an LTX file that belongs where it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// With the first piece.
    pub(crate) begins: Option<Begins>,
    pub(crate) last: bool,
    pub(crate) data: Bytes,
}

/// What the stream is doing for each database.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    filter: Filter,
    flows: HashMap<DbName, Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    round: u64,
    latest_transfer: u64,
    transfer: Option<Transfer>,
}

#[derive(Debug)]
struct Transfer {
    id: u64,
    offset: u64,
    /// Of the whole file, if it was said.
    size: Option<u64>,
}

impl Inbound {
    pub(crate) fn new(filter: Filter) -> Inbound {
        Inbound {
            filter,
            flows: HashMap::new(),
        }
    }

    /// Checks a chunk: the database, the round and the piece.
    pub(crate) fn chunk(&mut self, chunk: proto::Chunk) -> Result<(DbName, u64, Piece), Violation> {
        let name = self.name(&chunk.database)?;
        if chunk.data.is_empty() || chunk.data.len() > CHUNK_MAX {
            return Err(misfit(
                &name,
                format!("a chunk of {} bytes", chunk.data.len()),
            ));
        }
        let flow = self.flow(&name, chunk.round)?;
        let begins = match &chunk.head {
            Some(head) => Some(flow.begin(&name, chunk.transfer, head)?),
            None => None,
        };
        flow.advance(&name, &chunk)?;
        Ok((
            name,
            chunk.round,
            Piece {
                begins,
                last: chunk.last,
                data: chunk.data,
            },
        ))
    }

    /// Checks an abort: the database and the round.
    pub(crate) fn abort(&mut self, abort: &proto::Abort) -> Result<(DbName, u64), Violation> {
        let name = self.name(&abort.database)?;
        let flow = self.flow(&name, abort.round)?;
        match flow.transfer.take() {
            Some(transfer) if transfer.id == abort.transfer => Ok((name, abort.round)),
            _ => Err(misfit(
                &name,
                format!("transfer {} is aborted but not on its way", abort.transfer),
            )),
        }
    }

    /// Checks a drop: the database and the round.
    pub(crate) fn drop(&mut self, drop: &proto::Drop) -> Result<(DbName, u64), Violation> {
        let name = self.name(&drop.database)?;
        let flow = self.flow(&name, drop.round)?;
        if flow.transfer.is_some() {
            return Err(misfit(
                &name,
                "dropped in the middle of a transfer".to_owned(),
            ));
        }
        Ok((name, drop.round))
    }

    fn name(&self, text: &str) -> Result<DbName, Violation> {
        let name = DbName::new(text)?;
        if !self.filter.passes(&name) {
            return Err(misfit(&name, "not in our filter".to_owned()));
        }
        Ok(name)
    }

    fn flow(&mut self, name: &DbName, round: u64) -> Result<&mut Flow, Violation> {
        if !self.flows.contains_key(name) {
            if self.flows.len() >= DATABASES_MAX {
                return Err(Violation::TooMany {
                    what: "databases",
                    max: DATABASES_MAX,
                });
            }
            self.flows.insert(name.clone(), Flow::default());
        }
        let Some(flow) = self.flows.get_mut(name) else {
            return Err(Violation::Empty);
        };
        if round < flow.round {
            return Err(misfit(
                name,
                format!("round {round} after round {}", flow.round),
            ));
        }
        if round > flow.round {
            // We asked again: whatever was on its way has ended without an abort.
            flow.round = round;
            flow.transfer = None;
        }
        Ok(flow)
    }
}

impl Flow {
    fn begin(
        &mut self,
        name: &DbName,
        id: u64,
        head: &proto::TransferHead,
    ) -> Result<Begins, Violation> {
        if let Some(transfer) = &self.transfer {
            return Err(misfit(
                name,
                format!("transfer {id} begins within transfer {}", transfer.id),
            ));
        }
        if id <= self.latest_transfer {
            return Err(misfit(name, format!("transfer {id} begins again")));
        }
        if head.min_txid == 0 || head.max_txid < head.min_txid {
            return Err(misfit(
                name,
                format!("TXIDs {} to {}", head.min_txid, head.max_txid),
            ));
        }
        self.latest_transfer = id;
        self.transfer = Some(Transfer {
            id,
            offset: 0,
            size: (head.size != 0).then_some(head.size),
        });
        Ok(Begins {
            incarnation: Incarnation::new(head.incarnation),
            replaces_history: head.replaces_history,
            common: (head.common_txid != 0).then(|| TxId::new(head.common_txid)),
            history: (!head.history.is_empty()).then(|| history(&head.history)),
        })
    }

    fn advance(&mut self, name: &DbName, chunk: &proto::Chunk) -> Result<(), Violation> {
        let Some(transfer) = &mut self.transfer else {
            return Err(misfit(
                name,
                format!("transfer {} without a beginning", chunk.transfer),
            ));
        };
        if transfer.id != chunk.transfer || transfer.offset != chunk.offset {
            return Err(misfit(
                name,
                format!(
                    "transfer {} at {}, expected {} at {}",
                    chunk.transfer, chunk.offset, transfer.id, transfer.offset
                ),
            ));
        }
        // A chunk is small: the sum cannot overflow before 2^64 bytes were really sent.
        transfer.offset = transfer.offset.saturating_add(chunk.data.len() as u64);
        if let Some(size) = transfer.size
            && (transfer.offset > size || chunk.last != (transfer.offset == size))
        {
            return Err(misfit(
                name,
                format!("{} bytes of a file of {size}", transfer.offset),
            ));
        }
        if chunk.last {
            self.transfer = None;
        }
        Ok(())
    }
}

fn misfit(name: &DbName, reason: String) -> Violation {
    Violation::Transfer {
        db: name.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(size: u64) -> Option<proto::TransferHead> {
        Some(proto::TransferHead {
            incarnation: 9,
            min_txid: 1,
            max_txid: 3,
            size,
            ..Default::default()
        })
    }

    fn chunk(
        transfer: u64,
        offset: u64,
        last: bool,
        head: Option<proto::TransferHead>,
    ) -> proto::Chunk {
        let data = Bytes::from_static(b"0123456789");
        proto::Chunk {
            database: "a".into(),
            round: 0,
            transfer,
            offset,
            last,
            head,
            data,
        }
    }

    /// What the last of these chunks gives, after the others were accepted.
    fn last(
        chunks: impl IntoIterator<Item = proto::Chunk>,
    ) -> Result<(DbName, u64, Piece), Violation> {
        let mut inbound = Inbound::default();
        let mut result = Err(Violation::Empty);
        for (index, chunk) in chunks.into_iter().enumerate() {
            if index > 0 {
                result.as_ref().expect("only the last chunk may be refused");
            }
            result = inbound.chunk(chunk);
        }
        result
    }

    #[test]
    fn pieces_in_order_are_accepted_and_transfers_may_follow_each_other() {
        let (name, round, piece) = last([
            chunk(1, 0, false, head(20)),
            chunk(1, 10, true, None),
            chunk(2, 0, false, head(0)),
            chunk(2, 10, false, None),
        ])
        .unwrap();
        assert_eq!(
            (name.as_str(), round, piece.begins, piece.last),
            ("a", 0, None, false)
        );
        let (_, _, piece) = last([chunk(1, 0, true, head(10))]).unwrap();
        assert_eq!(
            (piece.begins.map(|begins| begins.incarnation), piece.last),
            (Some(Incarnation::new(9)), true)
        );
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let begun = || chunk(1, 0, false, head(30));
        assert!(last([chunk(1, 0, false, None)]).is_err(), "no beginning");
        assert!(
            last([chunk(1, 10, false, head(30))]).is_err(),
            "begins in the middle"
        );
        assert!(
            last([begun(), chunk(1, 0, false, None)]).is_err(),
            "the same piece again"
        );
        assert!(
            last([begun(), chunk(1, 20, false, None)]).is_err(),
            "a hole"
        );
        assert!(
            last([begun(), chunk(2, 10, false, None)]).is_err(),
            "another transfer"
        );
        assert!(
            last([begun(), chunk(2, 0, false, head(30))]).is_err(),
            "a beginning within a transfer"
        );
        assert!(
            last([begun(), chunk(1, 10, true, None)]).is_err(),
            "ends early"
        );
        assert!(
            last([chunk(1, 0, false, head(5))]).is_err(),
            "longer than it said"
        );
        assert!(
            last([chunk(1, 0, false, head(10))]).is_err(),
            "does not end where it said"
        );
        assert!(
            last([chunk(2, 0, true, head(10)), chunk(1, 0, true, head(10))]).is_err(),
            "an old transfer"
        );
        let bad = |change: fn(&mut proto::Chunk)| {
            let mut chunk = chunk(1, 0, true, head(0));
            change(&mut chunk);
            last([chunk])
        };
        assert!(bad(|_| ()).is_ok());
        assert!(bad(|c| c.database = "../x".into()).is_err());
        assert!(bad(|c| c.data = Bytes::new()).is_err());
        assert!(bad(|c| c.data = vec![0; CHUNK_MAX + 1].into()).is_err());
        assert!(bad(|c| c.head.as_mut().unwrap().min_txid = 0).is_err());
        assert!(bad(|c| c.head.as_mut().unwrap().min_txid = 4).is_err());
    }

    #[test]
    fn a_new_round_begins_afresh_and_an_old_one_is_over() {
        let in_round = |round: u64, chunk: proto::Chunk| proto::Chunk { round, ..chunk };
        let fresh = [
            chunk(1, 0, false, head(30)),
            in_round(1, chunk(2, 0, true, head(10))),
        ];
        assert_eq!(last(fresh.clone()).unwrap().1, 1);
        let [first, second] = fresh;
        assert!(last([first, second, chunk(3, 0, true, head(10))]).is_err());
    }

    #[test]
    fn aborts_and_drops_must_fit_too() {
        let mut inbound = Inbound::default();
        let abort = |transfer| proto::Abort {
            database: "a".into(),
            round: 0,
            transfer,
        };
        let gone = proto::Drop {
            database: "a".into(),
            round: 0,
        };
        assert!(inbound.abort(&abort(1)).is_err());
        assert!(inbound.drop(&gone).is_ok());
        inbound.chunk(chunk(1, 0, false, head(30))).unwrap();
        assert!(inbound.drop(&gone).is_err());
        assert!(inbound.abort(&abort(2)).is_err());
        inbound.chunk(chunk(2, 0, false, head(30))).unwrap();
        assert!(inbound.abort(&abort(2)).is_ok());
        assert!(inbound.chunk(chunk(3, 0, true, head(10))).is_ok());
    }

    #[test]
    fn databases_outside_the_filter_are_refused() {
        let mut inbound = Inbound::new(Filter::new(vec![DbName::new("b").unwrap()]));
        assert!(inbound.chunk(chunk(1, 0, true, head(10))).is_err());
        assert!(
            inbound
                .drop(&proto::Drop {
                    database: "a".into(),
                    round: 0
                })
                .is_err()
        );
    }
}
