//! What a test needs of the machine. In CI a missing requirement is a failure; elsewhere the test says so and returns.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::binary::profile_directory;

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

/// Whether a [`crate::network::Network`] can be had here: root, network namespaces, `/dev/net/tun` and `ip`.
///
/// # Panics
/// In CI (environment variable `CI`), if it cannot.
pub fn network_available() -> bool {
    program_answers("ip", "-V") && met(crate::network::obstacle())
}

/// Whether `program` can be run here.
///
/// # Panics
/// In CI (environment variable `CI`), if it cannot.
pub fn program_available(program: &str) -> bool {
    program_answers(program, "--version")
}

/// As [`program_available`], for a program that says its version when asked by `argument`.
///
/// # Panics
/// In CI (environment variable `CI`), if it cannot be run.
pub fn program_answers(program: &str, argument: &str) -> bool {
    let found = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    met((!found).then(|| format!("{program} is not installed")))
}

/// The directory with the programs of the packages in `requirements.txt`; made by `tests/venv` where it is missing.
///
/// # Panics
/// In CI (environment variable `CI`), if they cannot be installed.
pub fn python_packages() -> Option<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let profile = profile_directory();
        let target = profile
            .parent()
            .expect("a profile is in a target directory");
        make_venv(&target.join("venv"))
    });
    met(made.as_ref().err().cloned()).then(|| made.as_deref().expect("the requirement is met"))
}

fn make_venv(directory: &Path) -> Result<PathBuf, String> {
    run_script("venv", &[directory.as_os_str()])?;
    Ok(directory.join("bin"))
}

/// The `consul` program: that on PATH, else the one that `tests/consul` has built (`tests/run` calls it).
///
/// # Panics
/// In CI (environment variable `CI`), if there is none.
pub fn consul_binary() -> Option<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let profile = profile_directory();
        let target = profile
            .parent()
            .expect("a profile is in a target directory");
        let directory = target.join("consul");
        run_script("consul", &["--find".as_ref(), directory.as_os_str()]).map(PathBuf::from)
    });
    met(found.as_ref().err().cloned()).then(|| found.as_deref().expect("the requirement is met"))
}

/// Runs a script of this package: what it prints, or the last line of its complaint.
fn run_script(name: &str, arguments: &[&OsStr]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let output = Command::new(&script)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.trim_end().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.trim_end().lines().next_back();
    Err(format!(
        "tests/{name}: {}",
        last.unwrap_or("no reason given")
    ))
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
