//! What only the database's strand touches: the table, the place in the log, the handles on the mount.

use std::fs::File;
use std::sync::{Arc, Weak};

use ltx::{PageSize, Pos};

use crate::apply::Verified;
use crate::apply::wal_writer::WalWriter;
use crate::capture::LatchKind;
use crate::capture::hold::Holding;
use crate::capture::rollback::Staged;
use crate::capture::wal::WalCapture;
use crate::database::Database;
use crate::env::Env;
use crate::layout::DatabaseDir;
use crate::log::LtxFile;
use crate::name::DbName;
use crate::shared::Shared;
use crate::shared_index::SharedIndex;
use crate::shown_counter::ShownCounter;
use crate::status::Mode;
use crate::table::ChecksumTable;

/// The strand's side of a database.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) me: Weak<Database>,
    pub(crate) table: ChecksumTable,
    pub(crate) page_size: Option<PageSize>,
    /// The content of the database is that of the position. If not (a start after a crash, before it is known
    /// whether this node is the primary or a replica), nothing is captured.
    pub(crate) settled: bool,
    /// The node ceases to be the primary: what it committed until now is captured.
    pub(crate) last_words: bool,
    /// Applications have it open since before this process, and what they committed is not known yet.
    pub(crate) live: bool,
    /// What the keeper has.
    pub(crate) held: Option<Holding>,
    /// The database file is shorter than its header says.
    pub(crate) short: bool,
    /// What a start found, until it is settled.
    pub(crate) found: Option<crate::recovery::Found>,
    /// The database is not replicating, and this is what has to succeed first.
    pub(crate) latched: Option<LatchKind>,
    pub(crate) wal: WalCapture,
    pub(crate) staged: Option<Staged>,
    /// The database file was made for the transaction that is unfinished.
    pub(crate) placed: bool,
    /// In the log and not (known to be wholly) in the database.
    pub(crate) unfinished: Option<(LtxFile, Verified)>,
    /// EXCLUSIVE is held on it for a transaction that is being written in place.
    pub(crate) exclusive: Option<File>,
    /// On a replica: what page 1 of the file shows in place of what the primary has.
    pub(crate) shown_counter: Option<ShownCounter>,
    /// On the primary, while applications have the database open in WAL mode.
    pub(crate) joined: Option<Joined>,
    /// On a replica, for a database in WAL mode: holds WAL_WRITE_LOCK.
    pub(crate) writer: Option<WalWriter>,
}

/// The store beside the connections of a database in WAL mode on the primary. An application that initialises the
/// wal-index anew shortens it first, which is a request: then the store lets go of it.
pub(crate) struct Joined {
    pub(crate) shm: SharedIndex,
    /// Held where restarts of the log cannot be proven to be harmless.
    pub(crate) mark: Option<crate::read_mark::ReadMark>,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        me: Weak<Database>,
        table: ChecksumTable,
        page_size: Option<PageSize>,
        settled: bool,
    ) -> Core {
        Core {
            shared,
            me,
            table,
            page_size,
            settled,
            last_words: false,
            live: false,
            held: None,
            short: false,
            found: None,
            latched: None,
            wal: WalCapture::default(),
            staged: None,
            placed: false,
            unfinished: None,
            exclusive: None,
            shown_counter: None,
            joined: None,
            writer: None,
        }
    }

    pub(crate) fn name(&self) -> &DbName {
        &self.shared.name
    }

    pub(crate) fn dir(&self) -> &DatabaseDir {
        &self.shared.dir
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.shared.env
    }

    pub(crate) fn pos(&self) -> Pos {
        self.shared.pos()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.shared.mode()
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.shared.update(|state| state.mode = mode);
    }

    /// Becomes, or ceases to be, the writer of a database in WAL mode.
    pub(crate) fn set_writer(&mut self, writer: Option<WalWriter>) {
        self.shared
            .writer_joined
            .store(writer.is_some(), std::sync::atomic::Ordering::Release);
        if let Some(old) = std::mem::replace(&mut self.writer, writer) {
            // The keeper has the same open files: the locks would not go with ours.
            old.unlock();
            self.let_go();
        }
        self.hold_writer();
    }

    /// The database itself; `None` while the store is going away.
    pub(crate) fn database(&self) -> Option<Arc<Database>> {
        self.me.upgrade()
    }
}
