//! The name of a super-journal at the end of a journal.

use std::io::{Read, Seek};

use super::{Journal, MAGIC};
use crate::Error;
use crate::bytes::be32;

/// What follows the name: its length, its checksum and the magic.
const TRAILER: usize = 16;

/// The longest path that SQLite's Unix VFS takes; it ignores a longer name.
const MAX_NAME: u64 = 512;

/// Reads the name, with the checks of `readSuperJournal`. `None` if one of them fails.
pub(super) fn read<F: Read + Seek>(journal: &mut Journal<F>) -> Result<Option<Vec<u8>>, Error> {
    let Some(trailer_at) = journal.size.checked_sub(TRAILER as u64) else {
        return Ok(None);
    };
    let mut trailer = [0; TRAILER];
    journal.read_at(trailer_at, &mut trailer)?;
    let len = u64::from(be32(&trailer, 0));
    if !trailer.ends_with(&MAGIC) || len == 0 || len > MAX_NAME || len > trailer_at {
        return Ok(None);
    }
    let mut name = vec![0; len as usize];
    journal.read_at(trailer_at - len, &mut name)?;
    Ok((checksum_matches(&name, be32(&trailer, 4)) && is_super_journal(&name)).then_some(name))
}

/// The checksum is the sum of C's `char`s, which are signed on some architectures and unsigned on others: either
/// sum is one that SQLite wrote.
fn checksum_matches(name: &[u8], checksum: u32) -> bool {
    let signed = name.iter().fold(0u32, |sum, &byte| {
        sum.wrapping_add_signed(byte.cast_signed().into())
    });
    let unsigned = name
        .iter()
        .fold(0u32, |sum, &byte| sum.wrapping_add(byte.into()));
    checksum == signed || checksum == unsigned
}

/// Whether SQLite makes such names: `-mj` and nine hexadecimal digits, the third last a 9, or in the mode of
/// short names an extension of 9 and two such digits.
fn is_super_journal(name: &[u8]) -> bool {
    if name.contains(&0) {
        return false;
    }
    let short = name
        .last_chunk::<4>()
        .is_some_and(|[dot, nine, rest @ ..]| {
            (*dot, *nine) == (b'.', b'9') && rest.iter().all(u8::is_ascii_hexdigit)
        });
    let long = name.last_chunk::<12>().is_some_and(|end| {
        end.starts_with(b"-mj") && end[9] == b'9' && end[3..].iter().all(u8::is_ascii_hexdigit)
    });
    short || long
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn journal(name: &[u8], len: u32, checksum: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 512];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes.extend_from_slice(&MAGIC);
        Journal::open(Cursor::new(bytes))
            .unwrap()
            .super_journal_name()
    }

    fn sum(name: &[u8]) -> u32 {
        name.iter().map(|&byte| u32::from(byte)).sum()
    }

    #[test]
    fn a_name_needs_length_checksum_and_form() {
        let name = b"/db/app.db-mj0123AB9CD";
        let len = name.len() as u32;
        assert_eq!(journal(name, len, sum(name)).as_deref(), Some(&name[..]));
        assert_eq!(journal(name, len, sum(name) + 1), None);
        assert_eq!(journal(name, 0, 0), None);
        assert_eq!(journal(name, len - 12, sum(&name[12..])).as_deref(), None);
        assert_eq!(journal(name, u32::MAX, sum(name)), None);
        for wrong in [
            &b"/db/app.db-mj0123AB8CD"[..],
            b"/db/app.db-mj0123AG9CD",
            b"/d\0app.db-mj0123AB9CD",
        ] {
            assert_eq!(journal(wrong, len, sum(wrong)), None);
        }
        assert!(journal(b"/db/app.9ab", 11, sum(b"/db/app.9ab")).is_some());
    }

    #[test]
    fn a_name_longer_than_any_path_is_none() {
        let name = [b"/".repeat(501), b"-mj0123AB9CD".to_vec()].concat();
        assert_eq!(journal(&name, 513, sum(&name)), None);
        assert!(journal(&name[1..], 512, sum(&name[1..])).is_some());
    }

    #[test]
    fn bytes_above_127_sum_signed_or_unsigned() {
        let name = "/ä-mj0123AB9CD".as_bytes();
        let len = name.len() as u32;
        assert!(journal(name, len, sum(name)).is_some());
        assert!(journal(name, len, sum(name) - 512).is_some());
        assert!(journal(name, len, sum(name) - 256).is_none());
    }
}
