//! What a test needs of the machine. In CI a missing requirement is a failure; elsewhere the test says so and returns.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether real mounts are possible here: /dev/fuse can be opened and we are root.
///
/// # Panics
/// In CI (environment variable `CI`), if they are not.
pub fn fuse_available() -> bool {
    let device = Path::new("/dev/fuse");
    let reason = if !nix::unistd::geteuid().is_root() {
        Some("needs root".to_owned())
    } else {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(device)
            .err()
            .map(|error| format!("{}: {error}", device.display()))
    };
    met(reason)
}

/// Whether `program` can be run here.
///
/// # Panics
/// In CI (environment variable `CI`), if it cannot.
pub fn program_available(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    met((!found).then(|| format!("{program} is not installed")))
}

/// Deals with a requirement that is not met for `reason`.
fn met(reason: Option<String>) -> bool {
    let Some(reason) = reason else { return true };
    assert!(
        std::env::var_os("CI").is_none(),
        "{reason}, and CI must run every test"
    );
    eprintln!("skipped: {reason}");
    false
}
