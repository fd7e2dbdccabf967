//! A replica that sends anything, to a primary on which things happen in between. Whatever it says, what the primary
//! sends is what an honest replica could take.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use ltx::{Checksum, Pos, TxId};
use store::{DbName, Incarnation};

use super::{introduction, next};
use crate::hello::Filter;
use crate::primary::{Greeting, Heard, Outbound, Reception, Turn, receive};
use crate::proto::{
    self, PrimaryMessage, ReplicaMessage, primary_message as to, replica_message as from,
};
use crate::replica::Inbound;
use crate::wire::CHUNK_MAX;

/// The databases of the primary.
const DATABASES: [&str; 2] = ["a.db", "b.db"];
/// Turns between two messages. More would only be more of the same.
const TURNS: usize = 24;

/// Must not panic, whatever the bytes are. Before each message a byte says what happens on the primary.
pub fn from_replica(bytes: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let greeting = greet(&mut bytes);
    let mut primary = Primary::new(greeting.as_ref());
    while !bytes.is_empty() {
        primary.happen(bytes.get_u8());
        primary.take_turns();
        let Some(message) = next::<ReplicaMessage>(&mut bytes) else {
            return;
        };
        // A violation ends the stream.
        if !primary.hear(message) {
            return;
        }
        primary.take_turns();
    }
}

/// The handshake. Without a valid one the stream would end; here the rest is tried all the same.
fn greet(bytes: &mut Bytes) -> Option<Greeting> {
    let Some(from::Message::Hello(hello)) = next::<ReplicaMessage>(bytes)?.message else {
        return None;
    };
    let ours = introduction(1);
    ours.check_identity(&hello).ok()?;
    let mut reception = Reception::begin(ours, hello).ok()?;
    while reception.expects_more() {
        let Some(from::Message::HelloDatabases(page)) = next::<ReplicaMessage>(bytes)?.message
        else {
            return None;
        };
        reception.page(page).ok()?;
    }
    Some(reception.into_greeting())
}

/// A file or snapshot on its way.
#[derive(Default)]
struct Source {
    begun: bool,
}

/// As `Feed`, with chance in the place of the store.
struct Primary {
    outbound: Outbound,
    filter: Filter,
    /// An honest replica.
    judge: Inbound,
    databases: HashMap<DbName, u64>,
    sources: HashMap<DbName, Source>,
    chance: u32,
}

impl Primary {
    fn new(greeting: Option<&Greeting>) -> Primary {
        let filter = greeting.map_or_else(Filter::default, |greeting| greeting.filter.clone());
        let mut primary = Primary {
            outbound: Outbound::default(),
            judge: Inbound::new(filter.clone()),
            filter,
            databases: DATABASES.map(|name| (db(name), 1)).into(),
            sources: HashMap::new(),
            chance: 1,
        };
        let theirs = greeting.map_or(&[][..], |greeting| &greeting.databases);
        theirs.iter().for_each(|db| primary.outbound.join(db));
        for name in DATABASES.map(db) {
            if primary.filter.passes(&name) {
                primary.look_whether_it_exists(&name);
                primary.outbound.await_catch_up(&name, TxId::new(3));
            }
        }
        for database in theirs {
            primary.look_whether_it_exists(&database.name);
            if database.busy {
                primary.outbound.forget_catch_up(&database.name);
            }
        }
        primary
    }

    fn happen(&mut self, event: u8) {
        self.chance = self.chance.wrapping_add(u32::from(event));
        let name = db(DATABASES[usize::from(event & 1)]);
        match event >> 1 & 7 {
            0 => drop(self.databases.remove(&name)),
            1 => *self.databases.entry(name.clone()).or_default() += 1,
            2 => self.outbound.retry(&name),
            3 => self.outbound.slot_freed(),
            4 | 5 => self.outbound.resume(&name),
            _ => {}
        }
        if event >> 1 & 7 < 2 && self.filter.passes(&name) {
            self.look_whether_it_exists(&name);
        }
    }

    /// False if it breaks the protocol.
    fn hear(&mut self, message: ReplicaMessage) -> bool {
        match receive(&mut self.outbound, &self.filter, message) {
            Ok(Heard::Nothing | Heard::Applied(..)) => {}
            Ok(Heard::Failed { name, given_up, .. }) => {
                if given_up {
                    self.forget(&name);
                }
            }
            Ok(Heard::Asked(name, _)) => self.forget(&name),
            Err(error) => {
                drop(error.to_string());
                return false;
            }
        }
        self.outbound.assert_consistent();
        true
    }

    fn take_turns(&mut self) {
        for _ in 0..TURNS {
            match self.outbound.next() {
                Some(Turn::Look(name)) => self.look(&name),
                Some(Turn::Pull(name)) => self.pull(&name),
                None => break,
            }
            self.outbound.assert_consistent();
        }
        let _ = self.outbound.take_ready();
    }

    fn look(&mut self, name: &DbName) {
        let Some(incarnation) = self.databases.get(name).copied() else {
            return self.gone(name);
        };
        let _ = self.outbound.place(name, Incarnation::new(incarnation));
        let _ = (self.outbound.is_fresh(name), self.outbound.failures(name));
        match self.chance(6) {
            0 => self.outbound.up_to_date(name),
            1 => self.outbound.await_slot(name),
            2 => {
                self.outbound.opening(name);
                self.sources.insert(name.clone(), Source::default());
            }
            _ => {
                self.begin(name, incarnation);
                self.sources.insert(name.clone(), Source { begun: true });
                self.pull(name);
            }
        }
    }

    fn begin(&mut self, name: &DbName, incarnation: u64) {
        let head = proto::TransferHead {
            incarnation,
            min_txid: 1,
            max_txid: 3,
            ..Default::default()
        };
        let post = Pos::new(TxId::new(3), Checksum::EMPTY);
        self.outbound.begin(name, head, post);
    }

    fn pull(&mut self, name: &DbName) {
        let Some(begun) = self.sources.get(name).map(|source| source.begun) else {
            return;
        };
        match self.chance(5) {
            // Nothing was read yet.
            0 => return,
            1 => {
                self.forget(name);
                let (_, abort) = self.outbound.broken(name);
                return self.deliver(abort);
            }
            _ => {}
        }
        if !begun {
            let incarnation = self.databases.get(name).copied().unwrap_or_default();
            self.begin(name, incarnation);
            self.sources.insert(name.clone(), Source { begun: true });
        }
        let last = self.chance(3) == 0;
        let length = [1, 4000, CHUNK_MAX][self.chance(3)];
        if last {
            self.forget(name);
        }
        let data = Bytes::from_static(&[0; CHUNK_MAX]).slice(..length);
        let chunk = self.outbound.chunk(name, data, last);
        self.deliver(chunk);
    }

    fn look_whether_it_exists(&mut self, name: &DbName) {
        let Some(incarnation) = self.databases.get(name).copied() else {
            return self.gone(name);
        };
        let incarnation = Incarnation::new(incarnation);
        let (given_up, abort) = self.outbound.changed(name, incarnation);
        if given_up {
            self.forget(name);
        }
        self.deliver(abort);
    }

    fn gone(&mut self, name: &DbName) {
        self.forget(name);
        let messages = self.outbound.gone(name);
        self.deliver(messages);
    }

    fn forget(&mut self, name: &DbName) {
        if self.sources.remove(name).is_some() {
            self.outbound.slot_freed();
        }
    }

    /// The replica must be able to take it.
    fn deliver(&mut self, messages: impl IntoIterator<Item = PrimaryMessage>) {
        for message in messages {
            let taken = match message.message {
                Some(to::Message::Chunk(chunk)) => self.judge.chunk(chunk).map(drop),
                Some(to::Message::Abort(abort)) => self.judge.abort(&abort).map(drop),
                Some(to::Message::Drop(gone)) => self.judge.drop(&gone).map(drop),
                other => panic!("not of a database: {other:?}"),
            };
            taken.expect("an honest replica can take what the primary sends");
        }
    }

    fn chance(&mut self, of: u32) -> usize {
        self.chance = self
            .chance
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.chance >> 16) as usize % of as usize
    }
}

fn db(name: &str) -> DbName {
    DbName::new(name).expect("a name")
}
