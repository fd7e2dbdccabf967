//! What a replica says after its hello: acknowledgements, failures, requests. Without network, store or clock.

use ltx::Pos;
use store::{DbName, History, Incarnation};

use super::greeting::unexpected;
use super::outbound::Outbound;
use crate::error::{Error, Violation};
use crate::hello::Filter;
use crate::proto::{self, ReplicaMessage, replica_message::Message};
use crate::wire::{history, position};

/// What the owner of the [`Outbound`] has to do about a message.
#[derive(Debug)]
pub(crate) enum Heard {
    Nothing,
    /// The replica has applied this.
    Applied(DbName, Pos),
    /// The replica could not apply something. If it was on its way, the source is to be forgotten.
    Failed {
        name: DbName,
        given_up: bool,
        failure: proto::Failure,
    },
    /// The replica is somewhere else than was thought. The source is to be forgotten.
    Asked(DbName, History),
}

/// Takes a message: what is sent next depends on it.
pub(crate) fn receive(
    outbound: &mut Outbound,
    filter: &Filter,
    received: ReplicaMessage,
) -> Result<Heard, Error> {
    Ok(match received.message.ok_or(Violation::Empty)? {
        Message::Ack(ack) => acked(outbound, wanted(filter, &ack.database)?, &ack)?,
        Message::Failure(failure) => failed(outbound, wanted(filter, &failure.database)?, failure)?,
        Message::Ask(ask) => asked(outbound, wanted(filter, &ask.database)?, &ask)?,
        Message::HeartbeatEcho(_) => Heard::Nothing,
        Message::Refusal(refusal) => {
            return Err(Error::Refused {
                peer: "the replica",
                refusal: refusal.into(),
            });
        }
        other @ (Message::Hello(_) | Message::HelloDatabases(_) | Message::Tail(_)) => {
            return Err(unexpected(&other).into());
        }
    })
}

fn acked(outbound: &mut Outbound, name: DbName, ack: &proto::Ack) -> Result<Heard, Violation> {
    let applied = ack.applied.is_some().then(|| position(ack.applied));
    let current = outbound.acked(&name, ack.round, ack.consumed, applied)?;
    Ok(match applied.filter(|_| current) {
        Some(pos) => Heard::Applied(name, pos),
        None => Heard::Nothing,
    })
}

fn failed(
    outbound: &mut Outbound,
    name: DbName,
    failure: proto::Failure,
) -> Result<Heard, Violation> {
    let soon = failure.kind() == proto::failure::Kind::Conflict;
    let given_up = outbound.failed(&name, failure.round, soon)?;
    Ok(Heard::Failed {
        name,
        given_up,
        failure,
    })
}

fn asked(outbound: &mut Outbound, name: DbName, ask: &proto::Ask) -> Result<Heard, Violation> {
    let incarnation = Incarnation::new(ask.incarnation);
    let news = outbound.asked(&name, ask.round, incarnation, position(ask.position))?;
    Ok(if news {
        Heard::Asked(name, history(&ask.history))
    } else {
        Heard::Nothing
    })
}

/// The name of a database in the filter of the replica.
fn wanted(filter: &Filter, name: &str) -> Result<DbName, Violation> {
    let name = DbName::new(name)?;
    if !filter.passes(&name) {
        let reason = "not in the filter of the replica".to_owned();
        return Err(Violation::Transfer { db: name, reason });
    }
    Ok(name)
}
