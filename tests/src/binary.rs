//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `litefs` program: what the environment variable `LITEFS_BIN` names, else built once per run in the profile and
/// target directory of the running test program.
///
/// # Panics
/// If it does not build.
pub fn litefs_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("LITEFS_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// The SQLite client of this package; cargo builds it along with the tests.
pub fn client_binary() -> PathBuf {
    program("sqlclient")
}

/// The file system of tests of crashes and faults.
pub(crate) fn faultfs_binary() -> PathBuf {
    program("faultfs")
}

fn program(name: &str) -> PathBuf {
    let path = profile_directory().join(name);
    assert!(
        path.exists(),
        "{} is missing: run the tests through cargo",
        path.display()
    );
    path
}

fn build() -> PathBuf {
    let directory = profile_directory();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", "litefs", "--bin", "litefs"]);
    command
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    command.arg("--target-dir").arg(
        directory
            .parent()
            .expect("a profile is in a target directory"),
    );
    if directory
        .file_name()
        .is_some_and(|profile| profile == "release")
    {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the litefs program does not build");
    directory.join("litefs")
}

/// `target/<profile>`: test programs are in its `deps`, other programs in itself.
pub fn profile_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let directory = program.parent().expect("a program is in a directory");
    let tests = directory.file_name().is_some_and(|name| name == "deps");
    if tests {
        directory.parent().expect("deps is in a profile").to_owned()
    } else {
        directory.to_owned()
    }
}
