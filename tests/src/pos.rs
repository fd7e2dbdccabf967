//! A position as the mount's `X-pos` shows it.

use std::fmt;

/// TXID and post-apply checksum of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pos {
    /// How many transactions there were.
    pub txid: u64,
    /// Rolling checksum of the pages, with its top bit set.
    pub checksum: u64,
}

impl Pos {
    /// Reads the 34 bytes `%016x/%016x\n`, and nothing else.
    pub fn parse(text: &str) -> Option<Pos> {
        let (txid, checksum) = text.strip_suffix('\n')?.split_once('/')?;
        Some(Pos {
            txid: hexadecimal(txid)?,
            checksum: hexadecimal(checksum)?,
        })
    }
}

/// Sixteen lower-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.len() == 16
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{:016x}", self.txid, self.checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_position() {
        let pos = Pos {
            txid: 1,
            checksum: 0xf630_f5ae_3060_002c,
        };
        assert_eq!(Pos::parse("0000000000000001/f630f5ae3060002c\n"), Some(pos));
        assert_eq!(pos.to_string(), "0000000000000001/f630f5ae3060002c");
        for wrong in [
            "0000000000000001/f630f5ae3060002c",
            "1/f630f5ae3060002c\n",
            "0000000000000001/F630F5AE3060002C\n",
            "\n",
        ] {
            assert_eq!(Pos::parse(wrong), None, "{wrong:?}");
        }
    }
}
