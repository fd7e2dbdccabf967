//! The arrows between the crates, the size of their files, and where versions are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// What each crate may depend on among ours. Adapters never import one another, and nobody imports the binary.
const ARROWS: [(&str, &[&str]); 8] = [
    ("litefs-ltx", &[]),
    ("litefs-sqlite", &["litefs-ltx"]),
    ("litefs-store", &["litefs-ltx", "litefs-sqlite"]),
    ("litefs-fuse", &["litefs-store"]),
    ("litefs-http", &["litefs-store", "litefs-ltx"]),
    ("litefs-replication", &["litefs-store", "litefs-ltx"]),
    ("litefs-lease", &["litefs-ltx"]),
    (
        "litefs",
        &[
            "litefs-ltx",
            "litefs-sqlite",
            "litefs-store",
            "litefs-fuse",
            "litefs-http",
            "litefs-replication",
            "litefs-lease",
        ],
    ),
];
/// The packages around the product may not link it: they know it from outside. The benchmarks use the harness.
const AROUND: [(&str, &[&str]); 3] = [
    ("litefs-tests", &[]),
    ("litefs-mutation", &[]),
    ("litefs-benches", &["litefs-tests"]),
];
/// Crates that have no runtime and no network.
const SYNCHRONOUS: [&str; 3] = ["litefs-ltx", "litefs-sqlite", "litefs-store"];
/// Lines of a file at which it must have been split.
const TOO_LONG: usize = 800;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for what the library itself needs, else `dev` or `build`.
    kind: Option<String>,
}

impl Package {
    /// The packages of the workspace among its dependencies.
    fn ours(&self, workspace: &BTreeSet<&str>) -> BTreeSet<&str> {
        let dependencies = self
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        dependencies
            .map(|dependency| dependency.name.as_str())
            .filter(|name| workspace.contains(name))
            .collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
}

fn workspace() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root());
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice::<Metadata>(&output.stdout)
        .expect("cargo writes JSON")
        .packages
}

#[test]
fn arrows_point_down() {
    let packages = workspace();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let allowed: BTreeMap<_, _> = ARROWS.iter().chain(&AROUND).copied().collect();
    for package in &packages {
        let allowed = allowed.get(package.name.as_str());
        let allowed =
            allowed.unwrap_or_else(|| panic!("{} has no place in the architecture", package.name));
        for dependency in package.ours(&names) {
            assert!(
                allowed.contains(&dependency),
                "{} must not depend on {dependency}",
                package.name
            );
        }
    }
    for (name, _) in ARROWS.iter().chain(&AROUND) {
        assert!(names.contains(name), "{name} is missing");
    }
}

#[test]
fn the_deep_crates_have_no_runtime() {
    let runtimes = ["tokio", "hyper", "axum", "tonic", "reqwest", "fuser"];
    for package in workspace()
        .iter()
        .filter(|package| SYNCHRONOUS.contains(&package.name.as_str()))
    {
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.is_none())
        {
            assert!(
                !runtimes.contains(&dependency.name.as_str()),
                "{} needs {}",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn versions_and_lints_are_in_one_place() {
    for package in workspace() {
        let text = fs::read_to_string(&package.manifest_path).expect("a manifest can be read");
        let mistakes = local_versions(&text);
        assert!(
            mistakes.is_empty(),
            "{}: {mistakes:?}",
            package.manifest_path.display()
        );
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{}: the workspace's lints",
            package.manifest_path.display()
        );
    }
}

/// The dependencies of a manifest that do not get their version from the workspace.
fn local_versions(manifest: &str) -> Vec<&str> {
    let mut mistakes = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            // A section for one dependency has its version on a line of its own, which nobody would look for.
            if line.contains("dependencies.") {
                mistakes.push(line);
            }
            continue;
        }
        let inherited = line.contains("workspace = true")
            || (line.contains("path = ") && !line.contains("version"));
        if in_dependencies && !line.is_empty() && !line.starts_with('#') && !inherited {
            mistakes.push(line);
        }
    }
    mistakes
}

#[test]
fn a_local_version_is_found() {
    let manifest = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c\n[dev-dependencies]\nd = { version = \"2\" }\n[dependencies.e]\nversion = \"3\"\n";
    assert_eq!(
        local_versions(manifest),
        ["b = \"1\"", "d = { version = \"2\" }", "[dependencies.e]"]
    );
}

#[test]
fn no_file_is_too_long() {
    let mut files = Vec::new();
    for package in fs::read_dir(root().join("crates")).expect("the crates can be listed") {
        sources(&package.expect("an entry").path().join("src"), &mut files);
    }
    assert!(files.len() > 20, "the crates have sources");
    for file in files {
        let lines = fs::read_to_string(&file)
            .expect("a source can be read")
            .lines()
            .count();
        assert!(lines <= TOO_LONG, "{} has {lines} lines", file.display());
    }
}

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
