//! What a database does when the node's role changes, when the mount goes, and at a clean stop.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::apply::wal_writer::WalWriter;
use crate::capture::LatchKind;
use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, IoContext};
use crate::name::FileKind;
use crate::status::Mode;
use crate::table::{self, FileStamp};

impl Database {
    /// Before files older than `retention` go: saves the page-checksum table if the saved one, or the log's own
    /// beginning, goes with them.
    pub(crate) fn keep_table(&self, retention: Duration) -> Result<(), Error> {
        let due = self
            .shared
            .log
            .read()
            .has_older(retention, SystemTime::now());
        if !due {
            return Ok(());
        }
        self.call(|core| core.keep_table())?
    }
}

impl Core {
    /// The node has another role, or a mount at last.
    pub(crate) fn take_up_role(&mut self) {
        let result = if self.env().is_replica() && self.mode() == Mode::Wal && self.writer.is_none()
        {
            self.leave();
            WalWriter::join(self.env(), self.name(), self.dir())
                .map(|writer| self.set_writer(Some(writer)))
        } else if self.env().is_primary() {
            self.set_writer(None);
            Ok(())
        } else {
            Ok(())
        };
        self.latch(LatchKind::Role, &result);
    }

    /// Captures what is left and closes what was opened through the mount.
    pub(crate) fn leave_mount(&mut self) -> Result<(), Error> {
        let captured = self.capture(Occasion::Wake);
        self.close_files();
        captured
    }

    /// Closes what was opened through the mount.
    pub(crate) fn close_files(&mut self) {
        self.leave();
        self.set_writer(None);
        self.exclusive = None;
        // A checkpoint that is running has them open, too.
        drop(self.shared.checkpoint.lock());
    }

    /// Saves the table of the present position: later ones can be computed from it and the log.
    fn keep_table(&self) -> Result<(), Error> {
        if !self.settled || self.unfinished.is_some() || self.table.page_count() == 0 {
            return Ok(());
        }
        table::save(
            &self.dir().table_base(),
            &self.table,
            self.pos().txid,
            FileStamp::NONE,
        )
    }

    /// A clean stop: makes the content durable and saves its table.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.close_files();
        self.shared.close();
        let settled =
            self.settled && self.unfinished.is_none() && self.shared.dirty.lock().is_empty();
        if !settled || self.shared.state().latched.is_some() || self.table.page_count() == 0 {
            // The next start reads the database.
            return Ok(());
        }
        let path = self.dir().file(FileKind::Database);
        File::open(&path)
            .and_then(|file| file.sync_all())
            .during("sync", &path)?;
        for file in [self.dir().file(FileKind::Wal)] {
            if let Ok(open) = File::open(&file) {
                open.sync_all().during("sync", &file)?;
            }
        }
        table::save(
            &self.dir().table(),
            &self.table,
            self.pos().txid,
            FileStamp::of(&path)?,
        )
    }
}
