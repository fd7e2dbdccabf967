//! Apply to a database that does not exist here yet: the file is written aside and renamed in.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::log::LtxFile;
use crate::name::FileKind;
use crate::status::Mode;

use super::Verified;
use super::wal_writer::WalWriter;

impl Core {
    pub(crate) fn create_from(&mut self, file: &LtxFile, verified: &Verified) -> Result<(), Error> {
        let path = self.dir().file(FileKind::Database);
        if verified.header.commit == 0 {
            self.set_mode(Mode::Empty);
            return Ok(());
        }
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
        let mode = verified.mode.unwrap_or(Mode::NotSqlite);
        let joins = mode == Mode::Wal && self.env().is_replica();
        if joins {
            self.dir().make_log_files(&path)?;
        }
        self.set_mode(mode);
        fs::rename(&aside, &path).during("rename to", &path)?;
        for kind in FileKind::ALL {
            self.env().forget_name(&self.name().file(kind));
        }
        if joins {
            self.set_writer(Some(WalWriter::join(self.env(), self.name(), self.dir())?));
        }
        Ok(())
    }
}
