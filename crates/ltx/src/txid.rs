use std::{fmt, str::FromStr};

use crate::{Error, hex};

/// Transaction ID: counts the transactions of one database, from 1. Zero is the state before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TxId(u64);

impl TxId {
    /// Before the first transaction.
    pub const ZERO: TxId = TxId(0);

    /// The transaction ID with this number.
    pub const fn new(txid: u64) -> TxId {
        TxId(txid)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is the state before the first transaction.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The transaction ID after this one.
    ///
    /// # Panics
    ///
    /// After 2^64-1, since going on with a used ID would corrupt every replica. No file can bring a database there:
    /// [`Header`](crate::Header) refuses that ID. For one from elsewhere there is [`checked_next`](Self::checked_next).
    #[must_use]
    pub const fn next(self) -> TxId {
        match self.checked_next() {
            Some(next) => next,
            None => panic!("transaction ids are exhausted"),
        }
    }

    /// The transaction ID after this one, `None` after 2^64-1.
    pub const fn checked_next(self) -> Option<TxId> {
        match self.0.checked_add(1) {
            Some(next) => Some(TxId(next)),
            None => None,
        }
    }

    /// The transaction ID before this one, `None` before zero.
    pub const fn checked_previous(self) -> Option<TxId> {
        match self.0.checked_sub(1) {
            Some(previous) => Some(TxId(previous)),
            None => None,
        }
    }
}

impl fmt::Display for TxId {
    /// 16 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxId({self})")
    }
}

impl FromStr for TxId {
    type Err = Error;

    /// Exactly 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<TxId, Error> {
        hex::parse_16(text).map(TxId).ok_or(Error::Text {
            what: "transaction id: not 16 hexadecimal digits",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::TxId;

    #[test]
    fn text_is_sixteen_digits_both_ways() {
        assert_eq!(TxId::new(0xabc).to_string(), "0000000000000abc");
        assert_eq!(
            "0000000000000abc".parse::<TxId>().unwrap(),
            TxId::new(0xabc)
        );
        assert!("abc".parse::<TxId>().is_err());
    }

    #[test]
    fn next_stops_at_the_end() {
        assert_eq!(TxId::ZERO.next(), TxId::new(1));
        assert_eq!(TxId::new(u64::MAX).checked_next(), None);
        assert_eq!(TxId::ZERO.checked_previous(), None);
    }

    #[test]
    #[should_panic(expected = "exhausted")]
    fn next_of_the_last_panics() {
        let _ = TxId::new(u64::MAX).next();
    }
}
