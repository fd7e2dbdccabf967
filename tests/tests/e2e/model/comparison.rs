//! Everything has to be the same now: plain file, primary, replica.

use std::time::Duration;

use harness::{assert_agreement, digest, integrity, until};

use super::executor::World;
use super::operation::{Database, Mode};

const GONE: Duration = Duration::from_secs(20);

impl World {
    /// Compares all databases. With `keep` transactions stay open in WAL mode, where nobody waits for them.
    #[track_caller]
    pub(super) fn compare(&mut self, keep: bool) {
        self.start_replica();
        self.make_way(keep);
        for reader in self.readers.iter_mut().flatten() {
            reader.end_if_in_the_way();
        }
        for database in Database::ALL {
            if self.exists(database) {
                self.compare_one(database);
            } else {
                self.await_gone(database);
            }
        }
        self.compare_readers();
    }

    /// Others must be able to read. Where a connection is exclusive in WAL mode its newest commit may not have been
    /// captured (docs/semantics.md: "the newest commit may stay on the primary until the next one").
    fn make_way(&mut self, keep: bool) {
        for slot in &mut self.connections {
            if slot.as_ref().is_some_and(|pair| pair.exclusive) {
                slot.take().into_iter().for_each(super::pair::Pair::close);
            }
        }
        // Twice: a reader keeps a writer from committing.
        for _ in 0..2 {
            for pair in self.connections.iter_mut().flatten() {
                if !(keep && pair.mode == Mode::Wal) {
                    let _ = pair.run("COMMIT");
                }
            }
        }
    }

    #[track_caller]
    fn compare_one(&mut self, database: Database) {
        let name = database.name();
        let plain = self.plain_path(database);
        // This comes first: it undoes what a killed application has left half done.
        assert_eq!(
            digest(&self.cluster.primary.database(name)),
            digest(&plain),
            "{name} on the mount has another content than the plain file"
        );
        assert_agreement(&self.cluster, name);
        self.replicated[database as usize] = true;
        assert_eq!(integrity(&plain), "ok", "the plain file of {name}");
    }

    #[track_caller]
    fn await_gone(&self, database: Database) {
        let name = database.name();
        for node in [&self.cluster.primary, self.cluster.replica()] {
            until(GONE, "a deleted database is gone", || {
                node.pos(name).is_none() && !node.database(name).exists()
            });
        }
    }

    /// A connection on the replica that was open all the time sees what one sees that is opened now.
    #[track_caller]
    fn compare_readers(&mut self) {
        for (number, reader) in self.readers.iter_mut().enumerate() {
            let Some(reader) = reader else { continue };
            let path = self
                .cluster
                .replica()
                .database(Database::ALL[number % 2].name());
            if reader.has_snapshot() {
                reader.look();
            } else {
                let mut fresh = super::reader::Reader::open(self.cluster.stage.tag(), &path);
                assert!(
                    reader.rows() == fresh.rows(),
                    "an open connection on the replica sees something else than a new one"
                );
            }
        }
    }
}
