//! When the content of a database is not that of the end of its log: which of the two is right depends on the role.
//!
//! On the primary the content is: SQLite kept those commits, so they become a transaction. (Only a lease holder mints
//! transactions from a comparison.) On a replica the log is: a transaction that was stored is applied again, and if
//! that does not help the primary sends a snapshot, which is applied as the pages that differ.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ltx::Pos;

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::incarnation;
use crate::layout::remove_if_exists;
use crate::name::FileKind;
use crate::role::Role;
use crate::status::Mode;
use crate::transaction::{ChangedPages, Extent};
use crate::view::{pages_of, read_page};

impl Core {
    /// Brings content and position together. Before anything is mounted.
    pub(crate) fn settle(&mut self, role: &Role) -> Result<(), Error> {
        if matches!(role, Role::Replica { .. }) {
            // Zeroed by PERSIST, or emptied by TRUNCATE: nobody here may use it.
            remove_if_exists(&self.dir().file(FileKind::Journal))?;
        }
        let result = self.settle_content(role);
        if matches!(role, Role::Replica { .. }) && self.mode() == Mode::Wal {
            self.dir()
                .make_log_files(&self.dir().file(FileKind::Database))?;
        }
        result
    }

    fn settle_content(&mut self, role: &Role) -> Result<(), Error> {
        if self.settled || matches!(role, Role::None) {
            return Ok(());
        }
        let marker = self.dir().unfinished();
        let unfinished = incarnation::read_hex(&marker)?;
        if (!role.is_primary() || unfinished == Some(self.pos().txid.get()))
            && self.finish_stored()?
        {
            self.settled = true;
            return remove_if_exists(&marker);
        }
        if role.is_primary() {
            self.mint_content()?;
        } else {
            tracing::warn!(database = %self.name(), "its content is not that of its log: waiting for a snapshot");
            self.shared.set_pos(Pos::EMPTY);
        }
        self.settled = true;
        Ok(())
    }

    /// The last transaction of the log may have been stored and not (wholly) applied when the process died: applies it
    /// again, and keeps that if the checksum is right then. On the primary only if it was the primary that applied it
    /// (an import): otherwise the content may be newer than the log.
    fn finish_stored(&mut self) -> Result<bool, Error> {
        let Some(last) = self.shared.log.read().last().cloned() else {
            return Ok(false);
        };
        let opened = last.open().during("open", last.path())?;
        let fault = |source| Error::Ltx {
            what: last.path().display().to_string(),
            source,
        };
        let mut reader = ltx::Reader::new(std::io::BufReader::new(opened)).map_err(fault)?;
        let header = *reader.header();
        let mut changed = ChangedPages::new();
        let mut page = Vec::new();
        while let Some(pgno) = reader.next_page(&mut page).map_err(fault)? {
            changed.push((pgno, ltx::page_checksum(pgno, &page)));
        }
        reader.finish().map_err(fault)?;
        if self.table.sum_after(changed.iter().copied(), header.commit) != last.post_apply_checksum
        {
            return Ok(false);
        }
        let path = self.dir().file(FileKind::Database);
        let database = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .during("open", &path)?;
        let mut mode = self.mode();
        self.for_changed_pages(&last, &changed, |pgno, page| {
            if pgno == ltx::Pgno::FIRST {
                mode = crate::apply::mode_of(page);
            }
            database
                .write_all_at(page, header.page_size.offset(pgno))
                .during("write", &path)
        })?;
        database
            .set_len(u64::from(header.commit) * u64::from(header.page_size.get()))
            .during("resize", &path)?;
        database.sync_all().during("sync", &path)?;
        self.table.resize(header.commit);
        for (pgno, checksum) in changed {
            self.table.set(pgno, checksum);
        }
        self.page_size = Some(header.page_size);
        self.set_mode(mode);
        self.moved_to(last.post_pos(), last.timestamp_ms);
        tracing::info!(database = %self.name(), pos = %self.pos(), "finished a transaction that was stored");
        Ok(true)
    }

    /// The content becomes the next transaction, as a snapshot: what it was before is not known page by page.
    fn mint_content(&mut self) -> Result<(), Error> {
        let (Some(page_size), page_count) = (self.page_size, self.table.page_count()) else {
            return Ok(());
        };
        if !matches!(self.mode(), Mode::Wal | Mode::Rollback) {
            return Ok(());
        }
        let path = self.dir().file(FileKind::Database);
        let file = File::open(&path).during("open", &path)?;
        let pages: ChangedPages = pages_of(page_size, page_count)
            .map(|pgno| (pgno, self.table.get(pgno)))
            .collect();
        let transaction = self.encode(
            Extent::Snapshot,
            page_size,
            page_count,
            pages,
            |pgno, page| {
                read_page(&file, page_size.offset(pgno), page_size, page).during("read", &path)
            },
        )?;
        let pos = self.publish(transaction)?;
        tracing::info!(database = %self.name(), %pos, "the content was ahead of the log: made a transaction of it");
        Ok(())
    }
}
