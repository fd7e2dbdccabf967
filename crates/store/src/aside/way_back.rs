//! The way back from another history: what is written over when the snapshot of another primary takes the place of what
//! this node had. With the snapshot itself, which is in the log anyway, it gives the database as it was, with the
//! transactions that went aside; and it costs no more than the pages that differ.
//!
//! In the directory of the entry: `way-back/snapshot`, a link to the snapshot, and `way-back/back`, an LTX file that
//! follows on it.

use std::fs;
use std::path::Path;

use ltx::{Checksum, Pgno, TxId};

use crate::apply::Verified;
use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::log::LtxFile;
use crate::spool::Spool;
use crate::transaction::unix_ms;
use crate::view::{Locked, View};

/// The directory within an entry.
pub(super) const DIRECTORY: &str = "way-back";
pub(super) const SNAPSHOT: &str = "snapshot";
pub(super) const BACK: &str = "back";

impl Core {
    /// Before the snapshot is applied. What goes wrong is only said: without a way back there are still the transactions.
    pub(crate) fn keep_way_back(&self, entry: &Path, snapshot: &Verified) {
        if let Err(error) = self.write_back(&entry.join(DIRECTORY), snapshot) {
            tracing::warn!(database = %self.name(), error = error.chain(), "the database as it was cannot be kept beside its transactions");
        }
    }

    /// After it: the snapshot stays as long as the entry.
    pub(crate) fn keep_snapshot(&self, entry: &Path, snapshot: &LtxFile) {
        let link = entry.join(DIRECTORY).join(SNAPSHOT);
        // Some file systems have no hard links, and a copy may be all that the disk can take.
        if let Err(error) = fs::hard_link(snapshot.path(), &link) {
            tracing::warn!(database = %self.name(), %error, path = %link.display(), "the snapshot is not kept");
        }
    }

    fn write_back(&self, directory: &Path, snapshot: &Verified) -> Result<(), Error> {
        let Some(page_size) = self.page_size.filter(|_| self.table.page_count() > 0) else {
            return Ok(());
        };
        let whole = page_size != snapshot.header.page_size;
        let locked = Locked::take(
            self.env(),
            self.name(),
            self.dir(),
            self.shared.is_written_with_log(),
        )?;
        let (view, _) = View::new(locked, self.name(), self.dir(), self.shown_counter)?;
        fs::create_dir(directory).during("create", directory)?;
        let commit = snapshot.header.commit;
        let changed = |pgno: &Pgno| {
            let at = snapshot
                .changed
                .binary_search_by_key(pgno, |(pgno, _)| *pgno);
            whole || pgno.get() > commit || at.is_ok()
        };
        let (txid, pre_apply_checksum) = if whole {
            (TxId::new(1), Checksum::NONE)
        } else {
            let post = snapshot.trailer.post_apply_checksum;
            (snapshot.header.max_txid.next(), post)
        };
        let header = ltx::Header {
            page_size,
            commit: view.page_count(),
            min_txid: txid,
            max_txid: txid,
            timestamp_ms: unix_ms(),
            pre_apply_checksum,
            wal_offset: 0,
            wal_size: 0,
            wal_salts: (0, 0),
            node_id: self.env().node_id,
        };
        let fault = |source| Error::Ltx {
            what: format!("database {}: encode the way back", self.name()),
            source,
        };
        let mut writer = ltx::Writer::new(Spool::new(directory), header).map_err(fault)?;
        writer = writer.with_compression(self.env().compression());
        let (mut page, mut sum) = (Vec::new(), Checksum::EMPTY);
        for pgno in view.pages() {
            view.read(pgno, &mut page)?;
            sum = sum.toggled(ltx::page_checksum(pgno, &page));
            if changed(&pgno) {
                writer.write_page(pgno, &page).map_err(fault)?;
            }
        }
        let (spool, _) = writer.finish(sum).map_err(fault)?;
        spool.place(&directory.join(BACK)).map(|_| ())
    }
}
