//! A received LTX file on its way into a database.

use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::spool::Spool;

/// Collects the bytes of an LTX file: in memory while they are few, else in a temporary file beside the log. Dropped
/// without being applied it leaves nothing.
pub struct Incoming {
    pub(crate) spool: Spool,
}

impl Incoming {
    pub(crate) fn new(dir: &Path) -> Incoming {
        Incoming {
            spool: Spool::new(dir),
        }
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
