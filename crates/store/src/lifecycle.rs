//! What a database does when the node's role changes, when the mount goes, and at a clean stop.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::apply::wal_writer::WalWriter;
use crate::capture::LatchKind;
use crate::capture::Occasion;
use crate::core::Core;
use crate::database::Database;
use crate::error::{Error, IoContext};
use crate::layout::remove_if_exists;
use crate::name::FileKind;
use crate::status::Mode;
use crate::table::{self, FileStamp};
use crate::transaction::Extent;
use crate::view::read_first_page;

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
        if !self.try_to_come_up() {
            return;
        }
        let result = if self.env().is_replica() && self.mode() == Mode::Wal && self.writer.is_none()
        {
            self.leave();
            WalWriter::join(self.env(), self.name(), self.dir())
                .map(|writer| self.set_writer(Some(writer)))
        } else if self.env().is_primary() {
            self.set_writer(None);
            self.publish_shown_counter()
        } else {
            Ok(())
        };
        self.latch(LatchKind::Role, &result);
    }

    /// A replica becomes the primary: the change counter that its page 1 shows is the database's from now on.
    fn publish_shown_counter(&mut self) -> Result<(), Error> {
        let (Some(_), Some(page_size)) = (self.shown_counter, self.page_size) else {
            return Ok(());
        };
        let first = ltx::Pgno::FIRST;
        let page = read_first_page(self.dir(), page_size)?;
        let changed = vec![(first, ltx::page_checksum(first, &page))];
        let page_count = self.table.page_count();
        let transaction = self.encode(
            Extent::Commits(1),
            page_size,
            page_count,
            changed,
            |_, into| {
                into.clone_from(&page);
                Ok(())
            },
        )?;
        self.publish(transaction)?;
        self.shown_counter = None;
        remove_if_exists(&self.dir().shown_counter())
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
        self.let_go();
        self.drop_exclusive();
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
