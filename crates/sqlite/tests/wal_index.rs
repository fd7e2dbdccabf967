//! The wal-index without SQLite: one built from nothing, and what a caller must not do.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use ltx::{PageSize, Pgno};
use sqlite::wal::{Salts, WalChecksum};
use sqlite::wal_index::{
    Access, CheckpointInfo, IndexState, READ_MARK_NOT_USED, WalIndex, WalIndexHeader,
};

fn header(mx_frame: u32) -> WalIndexHeader {
    WalIndexHeader {
        change: 1,
        is_init: true,
        big_endian_checksum: false,
        page_size: Some(PageSize::new(4096).unwrap()),
        mx_frame,
        page_count: 100,
        frame_checksum: WalChecksum { s1: 1, s2: 2 },
        salts: Salts { salt1: 3, salt2: 4 },
    }
}

fn page_of(frame: u32) -> Pgno {
    Pgno::new(frame % 1000 + 1).unwrap()
}

fn filled(frames: u32) -> (File, WalIndex) {
    let file = tempfile::tempfile().unwrap();
    let mut index = WalIndex::open(file.try_clone().unwrap(), Access::ReadWrite).unwrap();
    for frame in 1..=frames {
        index.append(frame, page_of(frame), 0).unwrap();
    }
    index.reserve(0).unwrap();
    index.publish(&header(frames));
    (file, index)
}

#[test]
fn an_index_built_from_nothing() {
    let file = tempfile::tempfile().unwrap();
    let mut index = WalIndex::open(file.try_clone().unwrap(), Access::ReadWrite).unwrap();
    assert_eq!(index.header(), Err(IndexState::Missing));
    index.reserve(0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 32768);
    assert_eq!(index.header(), Err(IndexState::Uninitialised));
    index.publish(&WalIndexHeader {
        is_init: false,
        ..header(0)
    });
    assert_eq!(index.header(), Ok(header(0)), "publishing initialises");
    index.reserve(4063).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), 2 * 32768);
    assert!(
        metadata.blocks() * 512 >= metadata.len(),
        "the file is not sparse"
    );
}

#[test]
fn a_block_is_emptied_before_its_first_entry() {
    let (file, mut index) = filled(4062);
    file.write_all_at(&[1; 32768 - 4], 32768 + 4).unwrap();
    index.append(4063, page_of(1), 4062).unwrap();
    index.append(4064, page_of(2), 4062).unwrap();
    assert_eq!(index.find(page_of(1), 4064), Some(4063));
    assert_eq!(index.page_of_frame(4065), None);
    assert_eq!(slots_in_use(&file, 1), 2);
}

#[test]
fn frames_are_found_up_to_the_snapshot() {
    let (file, mut index) = filled(9000);
    let reader = WalIndex::open(file, Access::ReadOnly).unwrap();
    assert_eq!(reader.header(), Ok(header(9000)));
    for frame in [1, 999, 1000, 4062, 4063, 8158, 8159, 9000] {
        assert_eq!(reader.page_of_frame(frame), Some(page_of(frame)));
        assert_eq!(reader.find(page_of(frame), frame), Some(frame));
        assert_eq!(
            reader.find(page_of(frame), frame - 1),
            frame.checked_sub(1000).filter(|&frame| frame > 0)
        );
    }
    index.append(9001, Pgno::FIRST, 9000).unwrap();
    assert_eq!(reader.find(Pgno::FIRST, 9000), Some(9000));
    assert_eq!(reader.find(Pgno::FIRST, 9001), Some(9001));
}

#[test]
fn a_restart_reuses_the_places() {
    let (_, mut index) = filled(5000);
    index.publish(&header(0));
    index.set_checkpoint_info(CheckpointInfo::RESTARTED);
    index.append(1, page_of(7), 0).unwrap();
    assert_eq!(index.page_of_frame(2), None);
    assert_eq!(index.find(page_of(7), 1), Some(1));
    assert_eq!(index.find(page_of(8), 4062), None);
}

#[test]
fn entries_behind_an_appended_one_are_removed() {
    let (file, mut index) = filled(300);
    // As if only 100 were committed and the writer of the others had died.
    index.append(101, page_of(101), 100).unwrap();
    index.append(102, page_of(500), 100).unwrap();
    assert_eq!(
        (index.page_of_frame(100), index.page_of_frame(103)),
        (Some(page_of(100)), None)
    );
    for frame in 1..=101 {
        assert_eq!(index.find(page_of(frame), 300), Some(frame));
    }
    assert_eq!(index.find(page_of(500), 300), Some(102));
    assert!((102..=300).all(|frame| index.find(page_of(frame), 300).is_none()));
    assert_eq!(slots_in_use(&file, 0), 102);
}

/// The hash slots of a block that are not empty.
fn slots_in_use(file: &File, block: u64) -> usize {
    let mut slots = [0; 16384];
    file.read_exact_at(&mut slots, block * 32768 + 16384)
        .unwrap();
    slots
        .as_chunks::<2>()
        .0
        .iter()
        .filter(|&&slot| slot != [0; 2])
        .count()
}

#[test]
fn checkpoint_information_is_where_sqlite_has_it() {
    let (file, index) = filled(1);
    let info = CheckpointInfo {
        backfill: 1,
        read_marks: [0, 2, 3, 4, READ_MARK_NOT_USED],
        backfill_attempted: 6,
    };
    index.set_checkpoint_info(info);
    index.set_read_mark(4, 5);
    assert_eq!(
        index.checkpoint_info(),
        CheckpointInfo {
            read_marks: [0, 2, 3, 4, 5],
            ..info
        }
    );
    let mut bytes = [0; 136];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let words: Vec<u8> = [1u32, 0, 2, 3, 4, 5]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    if cfg!(target_endian = "little") {
        assert_eq!(
            (&bytes[96..120], &bytes[128..132]),
            (&words[..], &[6, 0, 0, 0][..])
        );
    }
    assert_eq!(bytes[120..128], [0; 8], "the lock bytes");
}

#[test]
#[should_panic(expected = "read-only")]
fn a_read_only_index_is_not_changed() {
    let (file, _) = filled(1);
    let index = WalIndex::open(file, Access::ReadOnly).unwrap();
    index.set_read_mark(1, 1);
}

#[test]
#[should_panic(expected = "read marks 0 to 4")]
fn there_are_five_read_marks() {
    let (_, index) = filled(1);
    index.set_read_mark(5, 1);
}

#[test]
fn a_file_that_cannot_be_extended_is_an_error() {
    let mut index = WalIndex::open(File::open("/dev/null").unwrap(), Access::ReadWrite).unwrap();
    assert_eq!(index.header(), Err(IndexState::Missing));
    assert!(index.reserve(1).is_err());
}
