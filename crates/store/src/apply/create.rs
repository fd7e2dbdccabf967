//! Apply to a database that does not exist here yet: the file is written aside and renamed in.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::log::LtxFile;
use crate::mount::OpenHow;
use crate::name::FileKind;
use crate::shared_index::lock_database_shared;
use crate::status::Mode;

use super::Verified;
use super::wal_writer::WalWriter;

impl Core {
    pub(crate) fn create_from(&mut self, file: &LtxFile, verified: &Verified) -> Result<(), Error> {
        if verified.header.commit == 0 {
            self.set_mode(Mode::Empty);
            return Ok(());
        }
        let mode = verified.mode.unwrap_or(Mode::NotSqlite);
        // At a second try the file may be in place, and in use.
        if !self.placed {
            self.place_database(file, verified, mode)?;
            self.placed = true;
        }
        // An OPEN with O_CREAT: the kernel may remember that there was no such file, and learns by this that there is.
        let database =
            self.env()
                .open_live(self.name(), self.dir(), FileKind::Database, OpenHow::Create)?;
        if mode == Mode::Wal && self.env().is_replica() {
            lock_database_shared(&database, self.name())?;
            let writer = WalWriter::with_database(self.env(), self.name(), self.dir(), database)?;
            self.set_writer(Some(writer));
        }
        Ok(())
    }

    fn place_database(&self, file: &LtxFile, verified: &Verified, mode: Mode) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Database);
        let aside = path.with_extension("tmp");
        let database = File::create(&aside).during("create", &aside)?;
        self.for_changed_pages(file, &verified.changed, |pgno, page| {
            database
                .write_all_at(page, verified.header.page_size.offset(pgno))
                .during("write", &aside)
        })?;
        let length = u64::from(verified.header.commit) * u64::from(verified.header.page_size.get());
        database.set_len(length).during("resize", &aside)?;
        database.sync_all().during("sync", &aside)?;
        if mode == Mode::Wal && self.env().is_replica() {
            self.dir().make_log_files(&aside)?;
        }
        self.set_mode(mode);
        fs::rename(&aside, &path).during("rename to", &path)
    }
}
