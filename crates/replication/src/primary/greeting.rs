//! The primary's part of the handshake.

use std::collections::HashSet;
use std::time::Duration;

use store::{DbName, Epoch, Role, Store};
use tonic::Streaming;

use super::ServerConfig;
use crate::error::{Error, Violation};
use crate::hello::{Filter, Introduction, Peer};
use crate::proto::{self, ReplicaMessage, replica_message::Message};
use crate::wire::{DATABASES_MAX, PAGE_MAX, PeerDatabase};
use crate::{Refusal, RefusalReason};

/// Time in which a replica has to say who it is and what it has.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// What both sides have said of themselves.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) ours: Introduction,
    pub(crate) peer: Peer,
    pub(crate) filter: Filter,
    pub(crate) databases: Vec<PeerDatabase>,
}

/// The epoch of this node, if it is the primary.
pub(crate) fn own_epoch(store: &Store) -> Result<Epoch, Error> {
    match store.role() {
        Role::Primary { epoch } => Ok(epoch),
        Role::Replica {
            primary: Some(primary),
        } => Err(not_primary(format!(
            "this node is a replica; the primary is {}",
            primary.hostname
        ))),
        Role::Replica { primary: None } | Role::None => {
            Err(not_primary("this node is not the primary".to_owned()))
        }
    }
}

fn not_primary(text: String) -> Error {
    Error::Refusing(Refusal::new(RefusalReason::NotPrimary, text))
}

/// What this node says of itself.
fn introduction(store: &Store, config: &ServerConfig) -> Introduction {
    Introduction {
        cluster: store.cluster_id(),
        node_id: store.node_id(),
        instance_id: store.instance_id(),
        hostname: config.hostname.clone(),
        epoch: Epoch::default(),
    }
}

/// Our hello.
pub(crate) fn hello(introduction: &Introduction, config: &ServerConfig) -> proto::Hello {
    let heartbeat_ms = u32::try_from(config.heartbeat.as_millis()).unwrap_or(u32::MAX);
    proto::Hello {
        heartbeat_ms,
        ..introduction.to_hello()
    }
}

/// Receives the replica's hello and checks it, and whether this node is the primary.
pub(crate) async fn receive(
    incoming: &mut Streaming<ReplicaMessage>,
    store: &Store,
    config: &ServerConfig,
) -> Result<Greeting, Error> {
    let ours = introduction(store, config);
    tokio::time::timeout(HELLO_TIME, receive_hello(incoming, store, ours))
        .await
        .unwrap_or(Err(Error::Silent(HELLO_TIME)))
}

async fn receive_hello(
    incoming: &mut Streaming<ReplicaMessage>,
    store: &Store,
    mut ours: Introduction,
) -> Result<Greeting, Error> {
    let hello = match next(incoming).await? {
        Message::Hello(hello) => hello,
        other => return Err(unexpected(&other).into()),
    };
    // First: a node that follows itself by mistake has made itself a replica, and should hear what is wrong.
    ours.check_identity(&hello)?;
    ours.epoch = own_epoch(store)?;
    let mut reception = Reception::begin(ours, hello)?;
    while reception.expects_more() {
        match next(incoming).await? {
            Message::HelloDatabases(page) => reception.page(page)?,
            other => return Err(unexpected(&other).into()),
        }
    }
    Ok(reception.into_greeting())
}

async fn next(incoming: &mut Streaming<ReplicaMessage>) -> Result<Message, Error> {
    let message = incoming.message().await?.ok_or(Error::Closed)?;
    Ok(message.message.ok_or(Violation::Empty)?)
}

/// The violation of a message that came where it must not.
pub(crate) fn unexpected(message: &Message) -> Violation {
    Violation::Unexpected(match message {
        Message::Hello(_) => "hello",
        Message::HelloDatabases(_) => "hello_databases",
        Message::Ack(_) => "ack",
        Message::Failure(_) => "failure",
        Message::Ask(_) => "ask",
        Message::HeartbeatEcho(_) => "heartbeat_echo",
        Message::Refusal(_) => "refusal",
        Message::Tail(_) => "tail",
    })
}

/// What a replica has said so far. Without network or store.
pub(crate) struct Reception {
    greeting: Greeting,
    names: HashSet<DbName>,
    more: bool,
}

impl Reception {
    /// Checks the hello itself, and the databases in it.
    pub(crate) fn begin(ours: Introduction, mut hello: proto::Hello) -> Result<Reception, Error> {
        let peer = ours.check_replica(&hello)?;
        let filter = Filter::try_from(&hello.filter[..])?;
        let mut reception = Reception {
            greeting: Greeting {
                ours,
                peer,
                filter,
                databases: Vec::new(),
            },
            names: HashSet::new(),
            more: hello.more_databases,
        };
        reception.add(std::mem::take(&mut hello.databases))?;
        Ok(reception)
    }

    /// Whether another page of databases follows.
    pub(crate) fn expects_more(&self) -> bool {
        self.more
    }

    /// Checks a page of databases.
    pub(crate) fn page(&mut self, page: proto::HelloDatabases) -> Result<(), Violation> {
        self.more = page.more_databases;
        self.add(page.databases)
    }

    /// All of it.
    pub(crate) fn into_greeting(self) -> Greeting {
        self.greeting
    }

    fn add(&mut self, page: Vec<proto::DatabaseState>) -> Result<(), Violation> {
        if page.len() > PAGE_MAX {
            return Err(Violation::TooMany {
                what: "databases in one message",
                max: PAGE_MAX,
            });
        }
        for state in page {
            let database = PeerDatabase::try_from(state)?;
            if !self.greeting.filter.passes(&database.name) {
                let reason = format!(
                    "database {} is not in the filter of the same replica",
                    database.name
                );
                return Err(Violation::Field {
                    field: "hello.databases",
                    reason,
                });
            }
            if !self.names.insert(database.name.clone()) {
                let reason = format!("database {} is there twice", database.name);
                return Err(Violation::Field {
                    field: "hello.databases",
                    reason,
                });
            }
            self.greeting.databases.push(database);
        }
        if self.greeting.databases.len() > DATABASES_MAX {
            return Err(Violation::TooMany {
                what: "databases",
                max: DATABASES_MAX,
            });
        }
        Ok(())
    }
}
