//! A -shm file of arbitrary bytes: its header, with and without a right checksum, and look-ups in what it speaks of.

use std::io::Write;

use sqlite::wal::{NATIVE_BIG_ENDIAN, WalChecksum};
use sqlite::wal_index::{Access, WalIndex, WalIndexHeader};

/// Frames and pages that are looked up at most.
const LOOKED_UP: u32 = 40;

/// Must not panic, whatever the bytes are.
pub(crate) fn run(bytes: &[u8]) {
    let _ = WalIndexHeader::parse(bytes);
    look_up(bytes);
    let Some(mut header) = bytes.first_chunk::<{ WalIndexHeader::SIZE }>().copied() else {
        return;
    };
    let sum = WalChecksum::ZERO.update(NATIVE_BIG_ENDIAN, &header[..40]);
    let words = [sum.s1, sum.s2].map(|word| {
        if NATIVE_BIG_ENDIAN {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    });
    header[40..].copy_from_slice(words.as_flattened());
    if let Ok(parsed) = WalIndexHeader::parse(&header) {
        assert_eq!(
            WalIndexHeader::parse(&parsed.encode()).expect("an encoded header parses"),
            parsed
        );
    }
    // Both copies of the header are right: what is behind them is believed further.
    let mut bytes = bytes.to_vec();
    if let Some(copies) = bytes.get_mut(..2 * header.len()) {
        copies.copy_from_slice(&[header, header].concat());
        look_up(&bytes);
    }
}

fn look_up(bytes: &[u8]) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("there is space");
    let mut index = WalIndex::open(file, Access::ReadWrite).expect("a file can be mapped");
    let Ok(header) = index.header() else {
        return;
    };
    let _ = index.checkpoint_info();
    let last = header.mx_frame;
    for frame in (1..=last.min(LOOKED_UP)).chain(last.saturating_sub(LOOKED_UP)..=last) {
        let Some(pgno) = index.page_of_frame(frame) else {
            continue;
        };
        let found = index.find(pgno, last);
        assert!(found.is_none_or(|at| at <= last && index.page_of_frame(at) == Some(pgno)));
    }
    // A file that speaks of more frames than there can be blocks is not believed, so this stays small.
    if let Some(next) = last.checked_add(1)
        && index.append(next, ltx::Pgno::FIRST, last).is_ok()
    {
        assert_eq!(index.page_of_frame(next), Some(ltx::Pgno::FIRST));
        assert_eq!(index.find(ltx::Pgno::FIRST, next), Some(next));
    }
}
