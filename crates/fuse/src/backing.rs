//! Backing files: opening, creating, permissions.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

/// Opens the backing file for reading and writing, whatever the application asked for: another handle may need more,
/// and who may do what is checked by the kernel.
pub(crate) fn open_backing(path: &std::path::Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Creates or opens a backing file as O_CREAT would.
pub(crate) fn create_backing(
    path: &std::path::Path,
    permissions: u32,
    exclusive: bool,
) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(permissions);
    if exclusive {
        options.create_new(true)
    } else {
        options.create(true).truncate(false)
    };
    options.open(path)
}

/// Sets permission bits exactly, whatever the umask of this process.
pub(crate) fn set_permissions(file: &File, permissions: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(permissions))
}
