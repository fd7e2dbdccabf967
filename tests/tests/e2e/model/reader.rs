//! A connection on the replica.

use std::path::Path;

use harness::client::{Access, Session};

/// What a reader looks at: the table that is always there.
const LOOK: &str = "SELECT id, note, x FROM t0 ORDER BY id";

/// SQLITE_BUSY.
const BUSY: i32 = 5;
/// SQLITE_READONLY.
const READONLY: i32 = 8;
/// As long as a transaction is applied, in milliseconds, and much longer.
const PATIENCE: u32 = 40_000;

type Rows = Vec<Vec<String>>;

/// An application that reads on the replica.
pub(super) struct Reader {
    session: Session,
    /// What it saw first in its open transaction, and whether the database was in WAL mode then.
    snapshot: Option<(Rows, bool)>,
}

impl Reader {
    pub(super) fn open(tag: &str, database: &Path) -> Reader {
        Reader {
            session: Session::open(tag, database, Access::ReadWrite),
            snapshot: None,
        }
    }

    pub(super) fn begin(&mut self) {
        if self.snapshot.is_none() {
            self.session.rows("BEGIN");
            let rows = self.session.rows(LOOK);
            let wal = self.session.value("PRAGMA journal_mode") == "wal";
            self.snapshot = Some((rows, wal));
        }
    }

    /// Reads. In a transaction nothing may have changed.
    #[track_caller]
    pub(super) fn look(&mut self) {
        let rows = self.rows();
        if let Some((first, _)) = &self.snapshot {
            assert!(rows == *first, "the snapshot of a reader has changed");
        }
    }

    pub(super) fn rows(&mut self) -> Rows {
        self.session.rows(LOOK)
    }

    pub(super) fn end(&mut self) {
        self.look();
        if self.snapshot.take().is_some() {
            self.session.rows("COMMIT");
        }
    }

    /// docs/semantics.md: "attempt to write a readonly database" or "database is locked".
    #[track_caller]
    pub(super) fn try_to_write(&mut self) {
        self.session.rows("PRAGMA busy_timeout = 0");
        let refused = self.session.error("INSERT INTO t0(note) VALUES (1)");
        assert!(
            [BUSY, READONLY].contains(&refused.code),
            "a write on the replica: {refused:?}"
        );
        self.session
            .rows(&format!("PRAGMA busy_timeout = {PATIENCE}"));
    }

    /// docs/semantics.md: "PASSIVE works: it only copies what is committed. FULL, RESTART and TRUNCATE report busy". In
    /// a transaction SQLite refuses it.
    pub(super) fn checkpoint(&mut self) {
        for kind in ["passive", "truncate"] {
            let _ = self.session.run(&format!("PRAGMA wal_checkpoint({kind})"));
        }
    }

    /// docs/semantics.md: "A reader that stays inside for long delays the apply", in the rollback modes.
    pub(super) fn end_if_in_the_way(&mut self) {
        if self.snapshot.as_ref().is_some_and(|(_, wal)| !wal) {
            self.end();
        }
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    pub(super) fn close(self) {
        self.session.close();
    }

    pub(super) fn kill(self) {
        self.session.kill();
    }
}
