//! A transaction in the middle of which its application, or the node, is killed.
//!
//! What is there afterwards is what was there before, or what the transaction makes of it. Which of the two is up to
//! chance; the plain file follows.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use harness::client::{Access, Session};

use super::executor::World;
use super::operation::{Action, Crash, Database, Mode, Rows};
use super::statement;

type Content = Vec<Vec<Vec<String>>>;

impl World {
    pub(super) fn crash(&mut self, crash: &Crash) -> String {
        self.close_all();
        let other = crash.database.other();
        for database in [crash.database, other] {
            if !self.exists(database) {
                self.create(database, &[], Mode::Delete);
            }
        }
        let wal = self.is_wal(crash.database);
        let both = crash.both && !wal && !self.is_wal(other);
        let mode = (!wal).then_some(crash.mode);
        let transaction = transaction(&crash.rows, both);

        let mut mount = self.client(|world, one| world.mount_path(one), crash.database, mode);
        mount.begin(&transaction);
        // No condition is waited for: this is the moment of the kill.
        thread::sleep(Duration::from_micros(u64::from(crash.microseconds)));
        if crash.node {
            self.cluster.primary.kill();
        }
        mount.kill();
        if crash.node {
            self.cluster.primary.start();
        }

        let here = self.content(|world, one| world.mount_path(one), crash.database);
        let before = self.content(|world, one| world.plain_path(one), crash.database);
        if here == before {
            return "undone".to_owned();
        }
        let mut plain = self.client(|world, one| world.plain_path(one), crash.database, mode);
        plain.rows(&transaction);
        plain.close();
        let after = self.content(|world, one| world.plain_path(one), crash.database);
        assert!(
            here == after,
            "after a crash there is neither what was before the transaction nor what is after it"
        );
        "done".to_owned()
    }

    /// A connection with both databases, and next to no cache.
    fn client(
        &self,
        path: impl Fn(&World, Database) -> PathBuf,
        database: Database,
        mode: Option<Mode>,
    ) -> Session {
        let mut session = self.attached(&path(self, database), &path(self, database.other()));
        session.rows("PRAGMA cache_size = 2");
        if let Some(mode) = mode {
            session.rows(&format!("PRAGMA main.journal_mode = {}", mode.word()));
        }
        session
    }

    fn attached(&self, database: &Path, other: &Path) -> Session {
        let mut session = Session::open(self.cluster.stage.tag(), database, Access::ReadWrite);
        session.rows(&format!("ATTACH '{}' AS other", other.display()));
        session
    }

    fn content(&self, path: impl Fn(&World, Database) -> PathBuf, database: Database) -> Content {
        let mut session = self.attached(&path(self, database), &path(self, database.other()));
        let content = ["main", "other"].map(|schema| {
            session.rows(&format!("SELECT id, note, x FROM {schema}.t0 ORDER BY id"))
        });
        session.close();
        content.into()
    }
}

/// Pages of all kinds: changed, freed, used again, new.
fn transaction(rows: &Rows, both: bool) -> String {
    let schemas: &[bool] = if both { &[false, true] } else { &[false] };
    let mut text = "BEGIN IMMEDIATE".to_owned();
    for other in schemas {
        let rows = Rows {
            other: *other,
            table: 0,
            ..rows.clone()
        };
        let shifted = Rows {
            from: rows.from / 2,
            count: rows.count + 10,
            ..rows.clone()
        };
        let next = Rows {
            salt: rows.salt + 1_000_000,
            ..rows.clone()
        };
        for action in [
            Action::Insert(rows),
            Action::Delete(shifted),
            Action::Insert(next),
        ] {
            text += &format!("; {}", statement::of(&action).expect("one statement"));
        }
    }
    text + "; COMMIT"
}
