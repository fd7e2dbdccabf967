//! What must be there before anything is started.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{anyhow, bail};

const DEVICE: &str = "/dev/fuse";

/// Checks that this machine lets this user mount.
pub(super) fn check() -> anyhow::Result<()> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open(DEVICE) {
        return Err(match error.kind() {
            ErrorKind::NotFound => anyhow!(
                "{DEVICE} is missing: load the kernel module (modprobe fuse); in a container, pass the device in \
                 (--device {DEVICE} --cap-add SYS_ADMIN)"
            ),
            ErrorKind::PermissionDenied => {
                anyhow!("no permission to open {DEVICE}: run as root, or change its mode")
            }
            _ => anyhow!("open {DEVICE}: {error}"),
        });
    }
    if !nix::unistd::geteuid().is_root() && !is_in_path("fusermount3") {
        bail!("only root can mount without fusermount3: install the package fuse3, or run as root");
    }
    Ok(())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}
