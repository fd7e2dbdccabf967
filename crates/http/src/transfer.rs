//! What exports and imports have in common: their limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Exports and imports at a time. Each holds one of the runtime's blocking threads, which others need too.
pub(crate) const MAX_TRANSFERS: usize = 8;

/// How long a client may send or take nothing. An export holds a snapshot meanwhile, which in the rollback
/// journal modes keeps writers out.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Pieces of a body that may wait between the connection and the blocking thread.
pub(crate) const QUEUED_PIECES: usize = 4;

/// The right to begin exports and imports.
pub(crate) struct Transfers(Arc<Semaphore>);

impl Transfers {
    pub(crate) fn new() -> Transfers {
        Transfers(Arc::new(Semaphore::new(MAX_TRANSFERS)))
    }

    /// One of the places, until it is dropped; it moves into the blocking thread, which may outlive the request.
    pub(crate) fn begin(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.0)
            .try_acquire_owned()
            .map_err(|_| Error::TooManyTransfers)
    }
}
