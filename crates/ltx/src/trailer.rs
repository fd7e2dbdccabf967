use crate::{Checksum, ChecksumTracking, Error, Header, Result};

/// Trailer of an LTX file (16 bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Checksum of the database after the transactions; [`Checksum::NONE`] if the file does not track it.
    pub post_apply_checksum: Checksum,
    /// Checksum of the file.
    pub file_checksum: Checksum,
}

impl Trailer {
    /// Bytes of a trailer.
    pub const SIZE: usize = 16;

    pub(crate) fn decode(bytes: [u8; Trailer::SIZE]) -> Trailer {
        let value = u128::from_be_bytes(bytes);
        Trailer {
            post_apply_checksum: Checksum::from_raw((value >> 64) as u64),
            file_checksum: Checksum::from_raw(value as u64),
        }
    }
}

/// Checks the post-apply checksum as far as the header tells, and against `pages`, the checksum of the pages of a
/// snapshot.
pub(crate) fn check_post_apply(
    found: Checksum,
    header: &Header,
    tracking: ChecksumTracking,
    pages: Option<Checksum>,
) -> Result<()> {
    let expected = match tracking {
        ChecksumTracking::Untracked => Some(Checksum::NONE),
        ChecksumTracking::Tracked if header.commit == 0 => Some(Checksum::EMPTY),
        ChecksumTracking::Tracked => pages,
    };
    let valid = match expected {
        Some(expected) => found == expected,
        None => found.is_well_formed(),
    };
    if valid {
        Ok(())
    } else {
        Err(Error::PostApplyChecksum {
            found,
            expected: expected.unwrap_or(Checksum::EMPTY),
        })
    }
}
