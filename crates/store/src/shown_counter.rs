//! A change counter that only this node's readers see.
//!
//! A reader in a rollback mode keeps its page cache as long as bytes 24 to 39 of page 1 stay the same (change counter,
//! size, free list: `PagerSharedLock`). A writer in exclusive locking mode changes the counter once and not with each
//! transaction, and another history can have the same counter by chance. Applied as it is, such a transaction would
//! leave readers on a replica with old pages for ever. So the file gets another counter, and everybody who wants the
//! bytes of the primary reads page 1 through [`ShownCounter::undo`]: the table, exports, the scrub, a start.
//!
//! Source: "Database File Format", sections "File change counter" (offset 24) and "Write library version number and
//! version-valid-for number" (offset 92).

use std::fs;

use sqlite::header::{OFFSET_CHANGE_COUNTER, OFFSET_VERSION_VALID_FOR};

use crate::error::{Error, IoContext};
use crate::layout::{self, DatabaseDir};

/// What readers compare: these bytes of page 1.
pub(crate) const COMPARED: std::ops::Range<usize> = 24..40;

/// Far away from every counter that a database gets to by itself.
const FAR: u32 = 0x8000_0000;

/// What stands in the file in place of what the primary has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShownCounter {
    /// In the file, at both places.
    shown: u32,
    /// What the primary has at offset 24, and at 92.
    counter: u32,
    valid_for: u32,
}

impl ShownCounter {
    /// For a page 1 of the primary that would look to readers like what is in the file. `before` is what the file has
    /// now in place of something else.
    pub(crate) fn beyond(page_1: &[u8], before: Option<ShownCounter>) -> ShownCounter {
        let counter = be32(page_1, OFFSET_CHANGE_COUNTER);
        ShownCounter {
            shown: before.map_or(counter ^ FAR, |before| before.shown.wrapping_add(1)),
            counter,
            valid_for: be32(page_1, OFFSET_VERSION_VALID_FOR),
        }
    }

    /// Puts it into a page 1 of the primary.
    pub(crate) fn apply(&self, page_1: &mut [u8]) {
        put(page_1, OFFSET_CHANGE_COUNTER, self.shown);
        put(page_1, OFFSET_VERSION_VALID_FOR, self.shown);
    }

    /// Makes a page 1 of the file that of the primary. One that shows something else is left as it is.
    pub(crate) fn undo(&self, page_1: &mut [u8]) {
        let shows_it = [OFFSET_CHANGE_COUNTER, OFFSET_VERSION_VALID_FOR]
            .into_iter()
            .all(|offset| page_1.len() >= offset + 4 && be32(page_1, offset) == self.shown);
        if shows_it {
            put(page_1, OFFSET_CHANGE_COUNTER, self.counter);
            put(page_1, OFFSET_VERSION_VALID_FOR, self.valid_for);
        }
    }

    /// Reads what was saved.
    pub(crate) fn load(dir: &DatabaseDir) -> Result<Option<ShownCounter>, Error> {
        let path = dir.shown_counter();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during("read", &path),
        };
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        match (next(), next(), next()) {
            (Some(shown), Some(counter), Some(valid_for)) => Ok(Some(ShownCounter {
                shown,
                counter,
                valid_for,
            })),
            _ => Err(Error::BadFile {
                path,
                reason: format!("{text:?} is not three numbers"),
            }),
        }
    }

    /// Makes it known to a later start: before it is written into the file.
    pub(crate) fn save(&self, dir: &DatabaseDir) -> Result<(), Error> {
        let text = format!("{} {} {}\n", self.shown, self.counter, self.valid_for);
        layout::write_durably(&dir.shown_counter(), text.as_bytes())
    }
}

fn be32(page_1: &[u8], offset: usize) -> u32 {
    let bytes = page_1.get(offset..offset + 4);
    bytes.map_or(0, |bytes| {
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    })
}

fn put(page_1: &mut [u8], offset: usize, value: u32) {
    if let Some(place) = page_1.get_mut(offset..offset + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_one_looks_different_and_all_come_back_as_the_primary_has_it() {
        let mut primary = vec![7; 512];
        put(&mut primary, OFFSET_CHANGE_COUNTER, 41);
        put(&mut primary, OFFSET_VERSION_VALID_FOR, 40);
        let (mut seen, mut before) = (vec![primary[COMPARED].to_vec()], None);
        for _ in 0..5 {
            let shown = ShownCounter::beyond(&primary, before);
            let mut file = primary.clone();
            shown.apply(&mut file);
            assert!(!seen.contains(&file[COMPARED].to_vec()));
            seen.push(file[COMPARED].to_vec());
            shown.undo(&mut file);
            assert_eq!(file, primary);
            before = Some(shown);
        }
        let mut other = primary.clone();
        put(&mut other, OFFSET_CHANGE_COUNTER, 42);
        let kept = other.clone();
        before.unwrap().undo(&mut other);
        assert_eq!(other, kept);
    }

    #[test]
    fn it_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = layout::DataDir::new(dir.path());
        let database = data.database(&crate::name::DbName::new("a").unwrap());
        fs::create_dir_all(database.path()).unwrap();
        assert_eq!(ShownCounter::load(&database).unwrap(), None);
        let shown = ShownCounter::beyond(&[9; 100], None);
        shown.save(&database).unwrap();
        assert_eq!(ShownCounter::load(&database).unwrap(), Some(shown));
        fs::write(database.shown_counter(), "x").unwrap();
        assert!(ShownCounter::load(&database).is_err());
    }
}
