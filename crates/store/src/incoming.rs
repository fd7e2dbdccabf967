//! A received LTX file on its way into a database.

use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::name::DbName;
use crate::spool::Spool;

/// Collects the bytes of an LTX file: in memory while they are few, else in a temporary file beside the log. Dropped
/// without being applied it leaves nothing.
pub struct Incoming {
    pub(crate) spool: Spool,
    /// The sender knows that the position of the database here is none of its history.
    pub(crate) replaces_history: bool,
}

impl Incoming {
    pub(crate) fn new(dir: &Path) -> Incoming {
        Incoming {
            spool: Spool::new(dir),
            replaces_history: false,
        }
    }

    /// Notes that the sender knows our position to be none of its history: what is only here goes aside.
    pub fn set_replaces_history(&mut self) {
        self.replaces_history = true;
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
