//! The one table from what the store refuses to errno.

use fuser::Errno;
use store::Refusal;

/// The errno of a refusal. Each is chosen for what SQLite makes of it.
pub(crate) fn of_refusal(refusal: Refusal) -> Errno {
    match refusal {
        // The only errno for the creation of a journal that becomes "attempt to write a readonly database".
        Refusal::ReadOnly => Errno::EACCES,
        // SQLite rolls back and says "disk I/O error".
        Refusal::Veto | Refusal::CaptureFailed => Errno::EIO,
        Refusal::Os(errno) => Errno::from_i32(errno),
    }
}

/// The errno of an operating system error.
pub(crate) fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}
