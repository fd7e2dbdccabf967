/// The number of read marks.
pub const READ_MARKS: usize = 5;

/// The value of a read mark that no reader uses.
pub const READ_MARK_NOT_USED: u32 = 0xffff_ffff;

/// How far the log is copied into the database, and what readers still need of it ("WAL-Index Checkpoint
/// Information"; bytes 96 to 131 of the index, the lock bytes left out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The frames up to this one are in the database file. Changed under `WAL_CKPT`, or set to 0 by a restart.
    pub backfill: u32,
    /// The last frame that readers holding the lock of a slot use; [`READ_MARK_NOT_USED`] is a slot without
    /// one. Slot 0 is always 0: its readers use the database file alone.
    pub read_marks: [u32; READ_MARKS],
    /// The frames up to this one may be in the database file, if a checkpointer died at its work.
    pub backfill_attempted: u32,
}

impl CheckpointInfo {
    /// What a restart of the log sets: nothing copied, slot 1 free for readers of the empty log.
    pub const RESTARTED: CheckpointInfo = CheckpointInfo {
        backfill: 0,
        read_marks: [
            0,
            0,
            READ_MARK_NOT_USED,
            READ_MARK_NOT_USED,
            READ_MARK_NOT_USED,
        ],
        backfill_attempted: 0,
    };
}
