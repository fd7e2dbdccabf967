//! Identities that are made once and kept in small files.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, IoContext};
use crate::layout;

/// One life of a database: a new number each time a database of that name is created, so that a node that was away
/// while it was deleted and created anew does not take one for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// By its number.
    pub fn new(number: u64) -> Incarnation {
        Incarnation(number)
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// A new one.
    pub fn random() -> Incarnation {
        Incarnation(rand::random())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The cluster that a node belongs to: `LFSC` and 16 upper-case hex digits, as LiteFS writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterId(String);

/// A text that is not a cluster id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cluster id (LFSC and 16 hex digits)")]
pub struct ClusterIdError(String);

impl ClusterId {
    /// A new one.
    pub fn random() -> ClusterId {
        ClusterId(format!("LFSC{:016X}", rand::random::<u64>()))
    }
}

impl FromStr for ClusterId {
    type Err = ClusterIdError;
    fn from_str(text: &str) -> Result<ClusterId, ClusterIdError> {
        let digits = text
            .strip_prefix("LFSC")
            .filter(|d| d.len() == 16 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits {
            Some(_) => Ok(ClusterId(text.to_owned())),
            None => Err(ClusterIdError(text.to_owned())),
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a number of 16 hex digits from a file. `None` if there is no such file.
pub(crate) fn read_hex(path: &Path) -> Result<Option<u64>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).during("read", path),
    };
    match u64::from_str_radix(text.trim(), 16) {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::BadFile {
            path: path.to_owned(),
            reason: format!("{:?} is not 16 hex digits", text.trim()),
        }),
    }
}

/// Writes a number as 16 hex digits to a file, durably.
pub(crate) fn write_hex(path: &Path, number: u64) -> Result<(), Error> {
    layout::write_durably(path, format!("{number:016x}\n").as_bytes())
}
