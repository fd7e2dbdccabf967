//! What to do about a transaction that could not be applied. Pure.

use std::time::Duration;

use store::ErrorKind;

use crate::proto::failure::Kind;

const DELAY_FIRST: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);

/// Why a transaction could not be applied, or a database not be dropped.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The store said so.
    Store(store::Error),
    /// The store panicked. Only this database is given up, for a while.
    Panic,
}

/// How to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// For the whole database, whatever our position.
    pub(crate) from_scratch: bool,
    pub(crate) delay: Duration,
}

impl Trouble {
    /// What the primary is told.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Trouble::Panic => Kind::Local,
            Trouble::Store(error) => match error.kind() {
                ErrorKind::Conflict => Kind::Conflict,
                ErrorKind::BadInput => Kind::BadInput,
                ErrorKind::NotPrimary
                | ErrorKind::NotFound
                | ErrorKind::Unavailable
                | ErrorKind::Internal => Kind::Local,
            },
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        match self {
            Trouble::Panic => "applying it panicked".to_owned(),
            Trouble::Store(error) => error.chain(),
        }
    }

    /// How to ask again, after this many failures without progress before this one.
    pub(crate) fn again(&self, failures: u32) -> Again {
        let doubled = DELAY_FIRST
            .saturating_mul(1 << failures.min(16))
            .min(DELAY_MAX);
        match self {
            // It cannot be mended by more transactions on top.
            Trouble::Store(store::Error::PostApplyMismatch { .. }) => Again {
                from_scratch: true,
                delay: if failures == 0 {
                    Duration::ZERO
                } else {
                    doubled
                },
            },
            // Our position was misunderstood; the true one helps, the first time.
            _ if self.kind() == Kind::Conflict && failures == 0 => Again {
                from_scratch: false,
                delay: Duration::ZERO,
            },
            _ if self.kind() == Kind::Local => Again {
                from_scratch: false,
                delay: doubled,
            },
            _ => Again {
                from_scratch: failures > 0,
                delay: doubled,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ltx::{Checksum, Pos, TxId};
    use store::DbName;

    fn db() -> DbName {
        DbName::new("a").unwrap()
    }

    #[test]
    fn a_wrong_position_is_corrected_at_once_and_then_given_up() {
        let trouble = Trouble::Store(store::Error::PositionMismatch {
            db: db(),
            expected: Pos::EMPTY,
            actual: Pos::EMPTY,
        });
        assert_eq!(trouble.kind(), Kind::Conflict);
        assert_eq!(
            trouble.again(0),
            Again {
                from_scratch: false,
                delay: Duration::ZERO
            }
        );
        assert_eq!(
            trouble.again(1),
            Again {
                from_scratch: true,
                delay: DELAY_FIRST * 2
            }
        );
    }

    #[test]
    fn a_wrong_checksum_needs_all_of_the_database() {
        let trouble = Trouble::Store(store::Error::PostApplyMismatch {
            db: db(),
            txid: TxId::new(1),
            expected: Checksum::EMPTY,
            actual: Checksum::EMPTY,
        });
        assert_eq!(
            trouble.again(0),
            Again {
                from_scratch: true,
                delay: Duration::ZERO
            }
        );
        assert!(trouble.again(1).delay > Duration::ZERO, "it must not spin");
    }

    #[test]
    fn trouble_of_our_own_only_waits_longer_and_longer() {
        let trouble = Trouble::Panic;
        assert_eq!(trouble.kind(), Kind::Local);
        assert_eq!(
            trouble.again(0),
            Again {
                from_scratch: false,
                delay: DELAY_FIRST
            }
        );
        assert_eq!(
            trouble.again(u32::MAX),
            Again {
                from_scratch: false,
                delay: DELAY_MAX
            }
        );
    }
}
