use std::{fmt, str::FromStr};

use crate::{Checksum, Error, TxId};

/// Position of a database: its last transaction and the checksum of its pages after it.
///
/// Two nodes with equal positions have equal databases.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pos {
    /// Last transaction.
    pub txid: TxId,
    /// Checksum of the database after it.
    pub checksum: Checksum,
}

impl Pos {
    /// Position of a database before its first transaction.
    pub const EMPTY: Pos = Pos {
        txid: TxId::ZERO,
        checksum: Checksum::EMPTY,
    };

    /// The position after this transaction, with this database checksum.
    pub const fn new(txid: TxId, checksum: Checksum) -> Pos {
        Pos { txid, checksum }
    }
}

impl Default for Pos {
    fn default() -> Pos {
        Pos::EMPTY
    }
}

impl fmt::Display for Pos {
    /// `txid/checksum`, 33 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.txid, self.checksum)
    }
}

impl FromStr for Pos {
    type Err = Error;

    /// `txid/checksum`, 16 hexadecimal digits each.
    fn from_str(text: &str) -> Result<Pos, Error> {
        let (txid, checksum) = text.split_once('/').ok_or(Error::Text {
            what: "position: not txid/checksum",
        })?;
        Ok(Pos {
            txid: txid.parse()?,
            checksum: checksum.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        let pos = Pos::new(TxId::new(1), Checksum::from_raw(0x8000_0000_0000_00aa));
        assert_eq!(pos.to_string(), "0000000000000001/80000000000000aa");
        assert_eq!(pos.to_string().parse::<Pos>().unwrap(), pos);
        assert_eq!(
            Pos::default().to_string(),
            "0000000000000000/8000000000000000"
        );
        for wrong in [
            "",
            "0000000000000001",
            "0000000000000001-80000000000000aa",
            "1/80000000000000aa",
            "0000000000000001/80000000000000aa\n",
        ] {
            assert!(wrong.parse::<Pos>().is_err(), "{wrong:?}");
        }
    }
}
