//! What a database does when the node's role changes, when the mount goes, and at a clean stop.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

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
        let result = if self.env().is_primary() {
            self.begin_committing()
        } else {
            self.be_only_writer()
        };
        self.latch(LatchKind::Role, &result);
    }

    /// Whoever wants to open a database in WAL mode waits for this where no application may commit.
    pub(crate) fn make_ready(&mut self) {
        if !self.env().is_primary() {
            let result = self.be_only_writer();
            self.latch(LatchKind::Role, &result);
        }
    }

    /// Holds what a writer of a database in WAL mode needs. Its -wal and -shm exist from then on: where applications may not
    /// create them they could not even read.
    pub(crate) fn be_only_writer(&mut self) -> Result<(), Error> {
        let needed = self.mode() == Mode::Wal && self.writer.is_none();
        if !needed || self.shared.is_closed() || !self.env().is_mounted() {
            return Ok(());
        }
        self.leave();
        self.forget_generation();
        self.join_as_writer()
    }

    /// Applications may commit: what they commit from here on is captured, and nothing before it.
    fn begin_committing(&mut self) -> Result<(), Error> {
        if self.unfinished.is_some() {
            self.finish_apply()?;
        }
        self.publish_shown_counter()?;
        let owes = self.shared.owes_capture.swap(false, Ordering::AcqRel);
        if self.writer.is_none() {
            return Ok(());
        }
        if owes {
            // The capture goes on where it stopped.
            self.set_writer(None);
            return self.watch_log().and_then(|()| self.join_if_open());
        }
        if self.mode() != Mode::Wal {
            self.leave_wal_if_unused();
        }
        if self.writer.is_some() && self.mode() != Mode::Wal {
            // Page 1 says otherwise, but those who are connected go on with the log until they are gone.
            self.set_mode(Mode::Wal);
        }
        self.skip_own_write()?;
        self.begin_log_anew_if_empty()?;
        // Watched before anybody can write to it.
        let watched = self.watch_log().and_then(|()| self.join_if_open());
        self.set_writer(None);
        watched
    }

    /// A log of which nothing is needed any more may still have the frames and the header of an earlier generation, which
    /// would look like commits to the capture.
    fn begin_log_anew_if_empty(&mut self) -> Result<(), Error> {
        match (&mut self.writer, self.page_size) {
            (Some(writer), Some(page_size)) if writer.end_of_log().is_none() => {
                let log = writer.write_header(page_size)?;
                self.begin_generation(&log);
                Ok(())
            }
            _ => Ok(()),
        }
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
        self.let_go_of_inherited();
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
