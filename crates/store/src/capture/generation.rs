//! Where one generation of a -wal ends and the next begins: proof that nothing in between was missed.
//!
//! A log is restarted in place: a new header with new salts, then frames over the old ones. Salts alone prove
//! nothing: two random ones are normal, and salt-1 + 1 can hide commits that a connection at synchronous=OFF made,
//! checkpointed and overwrote. What proves the end is that the frame after the last captured one is still there to be
//! looked at, and does not chain on.

use std::fs::File;

use sqlite::wal::{FrameHeader, WalHeader, frame_offset};

use crate::core::Core;
use crate::error::{Error, IoContext};
use crate::name::FileKind;
use crate::shared_index::read_full;

impl Core {
    /// The file has the header of another generation than the captured one; what chained on is taken already.
    pub(crate) fn end_generation(&mut self, file: &File, next: &WalHeader) -> Result<(), Error> {
        let Some(chain) = self.wal.chain.clone() else {
            return Ok(());
        };
        let begun = self.frame_is_of(file, 1, next)?;
        if begun {
            // With synchronous at NORMAL or above the header is synced before frame 1, and that sync brings us here.
            self.wal.unsynced_seen = true;
        }
        let successor = next.salts.salt1 == chain.salts().salt1.wrapping_add(1);
        let slot_overwritten = self.frame_is_of(file, chain.frame() + 1, next)?;
        let proven = self.is_proven_end(chain.salts(), chain.frame(), next.salts)
            || !slot_overwritten && (successor || !(begun || self.wal.unsynced_seen));
        if proven {
            self.begin_generation(next);
            Ok(())
        } else {
            self.diff("the log was restarted unseen")
        }
    }

    /// Whether a frame of the file belongs to the generation of `header`.
    fn frame_is_of(&self, file: &File, frame: u32, header: &WalHeader) -> Result<bool, Error> {
        let mut bytes = [0; FrameHeader::SIZE];
        let offset = frame_offset(header.page_size, frame);
        let read =
            read_full(file, &mut bytes, offset).during("read", &self.dir().file(FileKind::Wal))?;
        Ok(read == bytes.len()
            && FrameHeader::parse(&bytes).is_ok_and(|frame| frame.salts == header.salts))
    }
}
