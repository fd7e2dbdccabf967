//! A received LTX file on its way into a database.

use std::io::Write;
use std::path::Path;

use ltx::TxId;

use crate::error::Error;
use crate::history::History;
use crate::name::DbName;
use crate::spool::Spool;

/// Collects the bytes of an LTX file: in memory while they are few, else in a temporary file beside the log. Dropped
/// without being applied it leaves nothing.
pub struct Incoming {
    pub(crate) spool: Spool,
    /// The sender knows that the position of the database here is none of its history.
    pub(crate) replaces_history: bool,
    /// Up to this TXID our transactions are those of the sender.
    pub(crate) common: Option<TxId>,
    /// The terms that wrote to the database, as far as the sender knows.
    pub(crate) history: Option<History>,
}

impl Incoming {
    pub(crate) fn new(dir: &Path) -> Incoming {
        Incoming {
            spool: Spool::new(dir),
            replaces_history: false,
            common: None,
            history: None,
        }
    }

    /// Notes that the sender knows our position to be none of its history: what is only here goes aside. That is what
    /// comes after `common`, or all that there is if that is not known.
    pub fn set_replaces_history(&mut self, common: Option<TxId>) {
        self.replaces_history = true;
        self.common = common;
    }

    /// Notes which terms wrote to the database, up to this file at least.
    pub fn set_history(&mut self, history: History) {
        self.history = Some(history);
    }

    /// Reads all of it: whether it is a whole LTX file.
    pub(crate) fn read_through(
        &mut self,
        db: &DbName,
    ) -> Result<(ltx::Header, ltx::Trailer), Error> {
        let fault = |source| Error::Ltx {
            what: format!("database {db}: received LTX file"),
            source,
        };
        let mut reader = ltx::Reader::new(self.spool.reader()?).map_err(fault)?;
        let header = *reader.header();
        let mut page = Vec::new();
        while reader.next_page(&mut page).map_err(fault)?.is_some() {}
        Ok((header, reader.finish().map_err(fault)?))
    }

    /// Whether it is a whole LTX file that needs nothing before it.
    pub(crate) fn check(&mut self, db: &DbName) -> Result<(), Error> {
        let (header, _) = self.read_through(db)?;
        if header.is_snapshot() {
            return Ok(());
        }
        Err(Error::PositionMismatch {
            db: db.clone(),
            expected: header.pre_pos(),
            actual: ltx::Pos::EMPTY,
        })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.spool.write_all(bytes).map_err(|source| Error::Io {
            what: "write a received LTX file".into(),
            source,
        })
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.spool.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
