//! A plan from a seed.
//!
//! Each plan has its own taste: most kinds of operation are frequent, rare or absent in it, so that also what a
//! balanced mixture would never come to happens for a while.

use super::operation::{
    Action, CONNECTIONS, Crash, Database, Mode, Operation, READERS, Reading, Rows, Way,
};
use super::random::Random;

/// Kinds of operation.
#[derive(Clone, Copy)]
enum Kind {
    Write,
    Transaction,
    Savepoint,
    Read,
    Setting,
    JournalMode,
    Exclusive,
    Checkpoint,
    Vacuum,
    Schema,
    Attach,
    Close,
    Kill,
    Drop,
    RestartPrimary,
    Replica,
    Reader,
    Crash,
    Compare,
}

/// Each kind with its usual weight, and whether a plan may do without it.
const KINDS: [(Kind, u32, bool); 19] = [
    (Kind::Write, 60, false),
    (Kind::Transaction, 30, false),
    (Kind::Savepoint, 10, true),
    (Kind::Read, 8, true),
    (Kind::Setting, 10, true),
    (Kind::JournalMode, 8, true),
    (Kind::Exclusive, 3, true),
    (Kind::Checkpoint, 8, true),
    (Kind::Vacuum, 4, true),
    (Kind::Schema, 3, true),
    (Kind::Attach, 6, true),
    (Kind::Close, 6, true),
    (Kind::Kill, 4, true),
    (Kind::Drop, 1, true),
    (Kind::RestartPrimary, 2, true),
    (Kind::Replica, 4, true),
    (Kind::Reader, 10, true),
    (Kind::Crash, 3, true),
    (Kind::Compare, 7, false),
];

/// What the generator believes of a connection; it cannot know what failed.
#[derive(Clone, Default)]
struct Belief {
    attached: bool,
    transaction: bool,
    savepoints: Vec<u8>,
}

struct Generator {
    random: Random,
    weights: Vec<(Kind, u32)>,
    modes: Vec<Mode>,
    connections: Vec<Belief>,
    salt: u32,
}

/// The plan of `seed` with about `steps` operations.
pub(super) fn plan(seed: u64, steps: usize) -> Vec<Operation> {
    let mut generator = Generator::new(seed);
    let mut plan: Vec<Operation> = Database::ALL
        .map(|database| generator.create(database))
        .into();
    while plan.len() < steps {
        let operation = generator.operation();
        plan.push(operation);
    }
    plan.push(Operation::Compare { keep: false });
    plan
}

impl Generator {
    fn new(seed: u64) -> Generator {
        let mut random = Random::new(seed);
        let weights = KINDS
            .into_iter()
            .map(|(kind, usual, optional)| match random.below(4) {
                0 if optional => (kind, 0),
                1 => (kind, usual * 3),
                _ => (kind, usual),
            })
            .collect();
        let mut modes: Vec<Mode> = Mode::ALL
            .into_iter()
            .filter(|_| !random.once_in(2))
            .collect();
        modes.extend([Mode::Wal, Mode::Delete]);
        // Half of the plans leave out most connections: the last close happens often.
        let connections = if random.once_in(2) { CONNECTIONS } else { 2 };
        Generator {
            random,
            weights,
            modes,
            connections: vec![Belief::default(); connections],
            salt: 0,
        }
    }

    fn operation(&mut self) -> Operation {
        match self.kind() {
            Kind::Compare => Operation::Compare {
                keep: self.random.once_in(2),
            },
            Kind::Drop => self.create_or_drop(),
            Kind::RestartPrimary => {
                self.connections.fill(Belief::default());
                let ways = [Way::Stopped, Way::Killed, Way::KilledAfterApplications];
                let way = self.random.pick(&ways);
                Operation::RestartPrimary { way }
            }
            Kind::JournalMode if self.random.once_in(3) => {
                self.connections.fill(Belief::default());
                Operation::Switch {
                    database: self.random.pick(&Database::ALL),
                    mode: self.random.pick(&self.modes),
                }
            }
            Kind::Replica => self.replica(),
            Kind::Reader => self.reader(),
            Kind::Crash => self.crash(),
            kind => self.action(kind),
        }
    }

    fn kind(&mut self) -> Kind {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(total);
        for (kind, weight) in &self.weights {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }

    fn create(&mut self, database: Database) -> Operation {
        let page_sizes = [512, 1024, 4096, 4096, 4096, 8192, 65_536];
        let vacuums = ["none", "none", "full", "incremental"];
        Operation::Create {
            database,
            page_size: self.random.pick(&page_sizes),
            auto_vacuum: self.random.pick(&vacuums).to_owned(),
            mode: self.random.pick(&self.modes),
        }
    }

    fn create_or_drop(&mut self) -> Operation {
        let database = self.random.pick(&Database::ALL);
        if self.random.once_in(2) {
            return self.create(database);
        }
        self.connections.fill(Belief::default());
        Operation::Drop { database }
    }

    fn replica(&mut self) -> Operation {
        if self.random.once_in(2) {
            return Operation::StartReplica;
        }
        if self.random.once_in(4) {
            return Operation::WipeReplica;
        }
        let ways = [Way::Stopped, Way::Killed, Way::KilledAfterApplications];
        let way = self.random.pick(&ways);
        Operation::StopReplica { way }
    }

    fn reader(&mut self) -> Operation {
        let readings = [
            Reading::Begin,
            Reading::Begin,
            Reading::Read,
            Reading::Read,
            Reading::End,
            Reading::Write,
            Reading::Checkpoint,
        ];
        let action = if self.random.once_in(8) {
            Reading::Close
        } else {
            self.random.pick(&readings)
        };
        let reader = self.random.below(u32::try_from(READERS).expect("few")) as usize;
        Operation::Reader { reader, action }
    }

    fn action(&mut self, kind: Kind) -> Operation {
        let count = u32::try_from(self.connections.len()).expect("few");
        let connection = self.random.below(count) as usize;
        let action = match kind {
            Kind::Write => self.write(connection),
            Kind::Transaction => self.transaction(connection),
            Kind::Savepoint => self.savepoint(connection),
            Kind::Setting => self.setting(),
            Kind::JournalMode => Action::JournalMode(self.random.pick(&self.modes)),
            Kind::Exclusive => Action::Exclusive(self.random.once_in(2)),
            Kind::Checkpoint => {
                let kinds = ["passive", "full", "restart", "truncate"];
                Action::Checkpoint(self.random.pick(&kinds).to_owned())
            }
            Kind::Vacuum => self.vacuum(),
            Kind::Schema => {
                self.random
                    .pick(&[Action::CreateTable, Action::CreateTable, Action::DropTable])
            }
            Kind::Attach => self.attach(connection),
            Kind::Close | Kind::Kill => {
                self.connections[connection] = Belief::default();
                if matches!(kind, Kind::Kill) {
                    Action::Kill
                } else {
                    Action::Close
                }
            }
            _ => Action::Read,
        };
        Operation::On { connection, action }
    }

    fn crash(&mut self) -> Operation {
        self.connections.fill(Belief::default());
        let rows = self.rows(50);
        let modes = [Mode::Delete, Mode::Truncate, Mode::Persist];
        Operation::Crash(Crash {
            database: self.random.pick(&Database::ALL),
            mode: self.random.pick(&modes),
            both: self.random.once_in(3),
            node: self.random.once_in(2),
            microseconds: self.random.below(15_000),
            rows,
        })
    }

    fn write(&mut self, connection: usize) -> Action {
        // Now and then the database that is not attached: an error.
        let attached = self.connections[connection].attached;
        let rows = self.rows(if attached { 2 } else { 50 });
        match self.random.below(20) {
            0..10 => Action::Insert(rows),
            10..15 => Action::Update(rows),
            15..19 => Action::Delete(Rows {
                count: rows.count * 3,
                ..rows
            }),
            _ => Action::Empty(rows),
        }
    }

    /// Some rows, once in `odds` times of the attached database.
    fn rows(&mut self, odds: u32) -> Rows {
        self.salt += 1;
        let lengths = [0, 8, 40, 200, 200, 1000, 5000, 30_000];
        let length = self.random.pick(&lengths);
        let most = if length > 1000 { 5 } else { 40 };
        Rows {
            other: self.random.once_in(odds),
            table: u8::from(self.random.once_in(3)),
            from: self.random.below(200),
            count: 1 + self.random.below(most),
            length,
            salt: self.salt,
        }
    }

    fn attach(&mut self, connection: usize) -> Action {
        let belief = &mut self.connections[connection];
        belief.attached = !self.random.once_in(4);
        if belief.attached {
            Action::Attach
        } else {
            Action::Detach
        }
    }

    fn transaction(&mut self, connection: usize) -> Action {
        let belief = &mut self.connections[connection];
        if belief.transaction {
            belief.transaction = false;
            belief.savepoints.clear();
            return if self.random.once_in(3) {
                Action::Rollback
            } else {
                Action::Commit
            };
        }
        belief.transaction = true;
        let kinds = ["deferred", "immediate", "immediate", "exclusive"];
        Action::Begin(self.random.pick(&kinds).to_owned())
    }

    fn savepoint(&mut self, connection: usize) -> Action {
        let belief = &mut self.connections[connection];
        let Some(newest) = belief.savepoints.last().copied() else {
            belief.savepoints.push(0);
            return Action::Savepoint(0);
        };
        match self.random.below(3) {
            0 => {
                let number = newest + 1;
                belief.savepoints.push(number);
                Action::Savepoint(number)
            }
            1 => {
                let number = self.random.pick(&belief.savepoints);
                belief.savepoints.retain(|one| *one < number);
                Action::Release(number)
            }
            _ => Action::RollbackTo(self.random.pick(&belief.savepoints)),
        }
    }

    fn setting(&mut self) -> Action {
        let settings: [(&str, &[i64]); 7] = [
            ("cache_size", &[1, 2, 5, 20, 2000]),
            ("cache_spill", &[0, 1, 1, 5]),
            ("synchronous", &[0, 1, 2, 3]),
            ("mmap_size", &[0, 65_536, 4_000_000]),
            ("journal_size_limit", &[-1, 0, 4096, 100_000]),
            ("wal_autocheckpoint", &[0, 1, 10, 1000]),
            ("secure_delete", &[0, 1, 2]),
        ];
        if self.random.once_in(3) {
            return Action::Set("cache_size".to_owned(), 1);
        }
        let (name, values) = self.random.pick(&settings);
        Action::Set(name.to_owned(), self.random.pick(values))
    }

    fn vacuum(&mut self) -> Action {
        let set = |name: &str, value| Action::Set(name.to_owned(), value);
        match self.random.below(8) {
            0..4 => Action::Vacuum,
            4 => set("auto_vacuum", i64::from(self.random.below(3))),
            5 => set("page_size", 512 << self.random.below(8)),
            _ => Action::IncrementalVacuum(self.random.below(20)),
        }
    }
}
