//! Performs a plan: on a primary with a replica, and on plain files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Cluster, Node, PlainDirectory, sqlite3};

use super::operation::{Action, CONNECTIONS, Database, Mode, Operation, READERS, Reading};
use super::pair::{Pair, brief};
use super::reader::Reader;
use super::statement;

/// No plan takes so long.
const LIMIT: Duration = Duration::from_secs(240);

/// Both sides of a plan that is being performed. The clients go before the nodes.
pub(super) struct World {
    pub(super) connections: [Option<Pair>; CONNECTIONS],
    pub(super) readers: [Option<Reader>; READERS],
    /// Whether the replica has, or had, the database.
    pub(super) replicated: [bool; 2],
    pub(super) replica_runs: bool,
    pub(super) plain: PlainDirectory,
    pub(super) cluster: Cluster,
}

impl World {
    /// Nodes without databases; none where there can be no mounts.
    pub(super) fn new(passthrough: bool) -> Option<World> {
        let configure = |node: &mut Node| node.settings_mut().passthrough = passthrough;
        let cluster = Cluster::start(LIMIT, 1, configure)?;
        Some(World {
            connections: Default::default(),
            readers: Default::default(),
            replicated: [false; 2],
            replica_runs: true,
            plain: PlainDirectory::new(&cluster.stage, "plain"),
            cluster,
        })
    }

    /// Performs one operation; what came of it, for people.
    ///
    /// # Panics
    /// If the two sides differ.
    pub(super) fn perform(&mut self, operation: &Operation) -> String {
        match operation {
            Operation::Create {
                database,
                page_size,
                auto_vacuum,
                mode,
            } => {
                if self.exists(*database) {
                    return "it exists".to_owned();
                }
                let first = format!("PRAGMA page_size = {page_size}");
                let second = format!("PRAGMA auto_vacuum = {auto_vacuum}");
                self.create(*database, &[first, second], *mode);
            }
            Operation::On { connection, action } => return self.act(*connection, action),
            Operation::Reader { reader, action } => return self.read(*reader, *action),
            Operation::Compare { keep } => self.compare(*keep),
            Operation::Switch { database, mode } => self.switch(*database, *mode),
            Operation::Drop { database } => self.drop_database(*database),
            Operation::RestartPrimary { way } => self.restart_primary(*way),
            Operation::StopReplica { way } => self.stop_replica(*way),
            Operation::StartReplica => self.start_replica(),
            Operation::WipeReplica => self.wipe_replica(),
            Operation::Crash(crash) => return self.crash(crash),
        }
        "done".to_owned()
    }

    pub(super) fn exists(&self, database: Database) -> bool {
        self.plain_path(database).exists()
    }

    pub(super) fn plain_path(&self, database: Database) -> PathBuf {
        self.plain.database(database.name())
    }

    pub(super) fn mount_path(&self, database: Database) -> PathBuf {
        self.cluster.primary.database(database.name())
    }

    fn pair(&self, database: Database) -> Pair {
        let tag = self.cluster.stage.tag();
        Pair::open(tag, &self.mount_path(database), &self.plain_path(database))
    }

    pub(super) fn create(&mut self, database: Database, settings: &[String], mode: Mode) {
        let mut pair = self.pair(database);
        for setting in settings {
            must(&mut pair, setting);
        }
        must(&mut pair, &format!("PRAGMA journal_mode = {}", mode.word()));
        for table in statement::TABLES.split(';') {
            must(&mut pair, table);
        }
        pair.close();
    }

    /// The connection, opened if it was closed, on a database that is there.
    fn connection(&mut self, connection: usize) -> &mut Pair {
        let database = Database::of(connection);
        if !self.exists(database) {
            self.create(database, &[], Mode::Delete);
        }
        if self.connections[connection].is_none() {
            self.connections[connection] = Some(self.pair(database));
        }
        self.connections[connection].as_mut().expect("just opened")
    }

    fn act(&mut self, connection: usize, action: &Action) -> String {
        match action {
            Action::Close | Action::Kill => return self.leave(connection, action),
            Action::Attach => return self.attach(connection),
            Action::Exclusive(true) if self.is_too_late_for_exclusive(connection) => {
                return "left out".to_owned();
            }
            _ => {}
        }
        let wal = self.is_wal(Database::of(connection));
        let pair = self.connection(connection);
        let action = possible(action, pair.mode);
        let sql = statement::of(&action).expect("the others were dealt with");
        let answer = match action {
            Action::Checkpoint(_) => pair.checkpoint(&sql),
            Action::JournalMode(mode) if wal && mode != Mode::Wal => pair.leave_wal(&sql),
            _ => pair.run(&sql),
        };
        match (&action, &answer) {
            (Action::JournalMode(_), Ok(rows)) => {
                let word = rows.first().and_then(|row| row.first());
                pair.mode = word
                    .and_then(|word| Mode::from_word(word))
                    .expect("SQLite names the mode");
            }
            (Action::Exclusive(exclusive), Ok(_)) => pair.exclusive |= exclusive,
            (Action::Commit | Action::Rollback, _) => {
                let _ = pair.run(&statement::read("main"));
            }
            _ => {}
        }
        brief(&answer)
    }

    /// docs/semantics.md: "In WAL mode a connection that is open already cannot become exclusive with newer versions
    /// of SQLite".
    fn is_too_late_for_exclusive(&self, connection: usize) -> bool {
        self.connections[connection].is_some() && self.is_wal(Database::of(connection))
    }

    /// Byte 18 of the header. The plain file is nobody's but ours; no lock of this process can be lost.
    pub(super) fn is_wal(&self, database: Database) -> bool {
        let bytes = fs::read(self.plain_path(database)).unwrap_or_default();
        bytes.get(18) == Some(&2)
    }

    fn attach(&mut self, connection: usize) -> String {
        let other = Database::of(connection).other();
        if !self.exists(other) {
            self.create(other, &[], Mode::Delete);
        }
        let sql = |path: PathBuf| format!("ATTACH '{}' AS other", path.display());
        let (mount, plain) = (sql(self.mount_path(other)), sql(self.plain_path(other)));
        brief(&self.connection(connection).run_each(&mount, &plain))
    }

    fn leave(&mut self, connection: usize, action: &Action) -> String {
        let Some(mut pair) = self.connections[connection].take() else {
            return "not open".to_owned();
        };
        commit_what_cannot_be_undone(&mut pair);
        if *action == Action::Kill {
            pair.kill();
        } else {
            pair.close();
        }
        "done".to_owned()
    }

    pub(super) fn close_all(&mut self) {
        for pair in self.connections.iter_mut().filter_map(Option::take) {
            pair.close();
        }
    }

    /// SQLite's command line program, which Debian has in an older version, changes the mode: newer ones cannot leave
    /// WAL mode while the node is connected.
    fn switch(&mut self, database: Database, mode: Mode) {
        if !self.exists(database) {
            return;
        }
        self.close_all();
        let sql = format!("PRAGMA journal_mode = {}", mode.word());
        for path in [self.mount_path(database), self.plain_path(database)] {
            let answer = sqlite3(&path, &sql);
            assert_eq!(
                answer.as_deref(),
                Ok(mode.word()),
                "the mode of {}",
                path.display()
            );
        }
    }

    fn drop_database(&mut self, database: Database) {
        self.close_all();
        self.readers = Default::default();
        for path in [self.mount_path(database), self.plain_path(database)] {
            for suffix in ["", "-journal", "-wal", "-shm"] {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                match fs::remove_file(&name) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        panic!("{}: {error}", name.display())
                    }
                    _ => {}
                }
            }
        }
        self.replicated[database as usize] = false;
    }

    fn read(&mut self, number: usize, reading: Reading) -> String {
        let database = Database::ALL[number % 2];
        let there = self.replica_runs && self.replicated[database as usize];
        if reading == Reading::Close || !there {
            self.readers[number]
                .take()
                .into_iter()
                .for_each(Reader::close);
            return "closed".to_owned();
        }
        let (tag, path) = (
            self.cluster.stage.tag(),
            self.cluster.replica().database(database.name()),
        );
        let reader = self.readers[number].get_or_insert_with(|| Reader::open(tag, &path));
        match reading {
            Reading::Begin => reader.begin(),
            Reading::End => reader.end(),
            Reading::Write => reader.try_to_write(),
            Reading::Checkpoint => reader.checkpoint(),
            _ => reader.look(),
        }
        "done".to_owned()
    }
}

#[track_caller]
fn must(pair: &mut Pair, sql: &str) {
    let answer = pair.run(sql);
    assert!(answer.is_ok(), "{sql}: {}", brief(&answer));
}

/// Without a journal SQLite cannot roll back: "the database will likely go corrupt".
fn possible(action: &Action, mode: Mode) -> Action {
    match action {
        Action::Rollback if mode == Mode::Off => Action::Commit,
        Action::Savepoint(_) | Action::Release(_) | Action::RollbackTo(_) if mode == Mode::Off => {
            Action::Read
        }
        _ => action.clone(),
    }
}

/// The same when the process ends in the middle of a transaction; a journal in memory dies with it.
pub(super) fn commit_what_cannot_be_undone(pair: &mut Pair) {
    if matches!(pair.mode, Mode::Off | Mode::Memory) {
        let _ = pair.run("COMMIT");
    }
}
