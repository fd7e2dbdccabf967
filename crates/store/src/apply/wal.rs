//! Apply to a database in WAL mode.

use crate::core::Core;
use crate::error::Error;
use crate::log::LtxFile;
use crate::status::Mode;

use super::Verified;
use super::wal_writer::WalWriter;

impl Core {
    pub(crate) fn apply_wal(&mut self, file: &LtxFile, verified: &Verified) -> Result<(), Error> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => WalWriter::join(self.env(), self.name(), self.dir())?,
        };
        let appended = self.append(&mut writer, file, verified);
        self.set_writer(Some(writer));
        if appended.is_err() {
            // If the disk is full the log may be what fills it.
            self.checkpoint_in_background();
        }
        appended?;
        match verified.mode {
            // Applications that are connected go on in WAL mode; when they are gone the log can go, too.
            Some(Mode::Rollback) => {
                self.set_mode(Mode::Rollback);
                self.leave_wal_if_unused();
            }
            Some(mode) => self.set_mode(mode),
            None => {}
        }
        Ok(())
    }

    fn append(
        &self,
        writer: &mut WalWriter,
        file: &LtxFile,
        verified: &Verified,
    ) -> Result<(), Error> {
        let mut append = writer.begin(verified.header.page_size)?;
        self.for_changed_pages(file, &verified.changed, |pgno, page| {
            append.page(pgno, page)
        })?;
        append.commit(verified.header.commit)
    }
}
