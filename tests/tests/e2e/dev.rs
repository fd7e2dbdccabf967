//! `litefs dev`: the program tries itself out, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Stage, is_mounted, litefs_binary, processes_tagged, until, wait_for};

const LIMIT: Duration = Duration::from_secs(90);
const ENDED: Duration = Duration::from_secs(60);

/// Starts `litefs dev`; temporary files go into `temporary`.
fn dev(stage: &Stage, temporary: &Path, arguments: &[&str]) -> Child {
    fs::create_dir_all(temporary).expect("the directory of a stage is ours");
    let output = fs::File::create(stage.directory().join("output"))
        .expect("the directory of a stage is ours");
    let mut command = Command::new(litefs_binary());
    command
        .arg("dev")
        .args(arguments)
        .env("TMPDIR", temporary)
        .env("LITEFS_TEST_STAGE", stage.tag());
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("duplicate a descriptor"))
        .stderr(output);
    command.spawn().expect("the litefs program runs")
}

fn output(stage: &Stage) -> String {
    fs::read_to_string(stage.directory().join("output")).unwrap_or_default()
}

/// No mount, process or file.
#[track_caller]
fn assert_nothing_left(stage: &Stage, temporary: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table is readable");
    let below = temporary.display().to_string();
    assert!(!mounts.contains(&below), "a mount is left:\n{mounts}");
    let processes = processes_tagged(stage.tag());
    assert!(processes.is_empty(), "processes are left: {processes:?}");
    let files: Vec<_> = fs::read_dir(temporary)
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .collect();
    assert!(files.is_empty(), "files are left: {files:?}");
}

#[test]
fn load_writes_reads_and_ends() {
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let temporary = stage.directory().join("temporary");
    let mut child = dev(&stage, &temporary, &["--load", "3"]);
    let status = wait_for(&mut child, ENDED, "litefs dev --load 3 ends");
    let output = output(&stage);
    assert!(status.success(), "{status}: {output}");
    assert!(output.contains("/s"), "it shows a throughput: {output}");
    assert!(
        output.to_lowercase().contains("lag"),
        "it shows a lag: {output}"
    );
    assert!(!output.contains("panicked"), "{output}");
    assert_nothing_left(&stage, &temporary);
}

#[test]
fn ctrl_c_ends_it() {
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let temporary = stage.directory().join("temporary");
    let mut child = dev(&stage, &temporary, &["--nodes", "3"]);
    let below = temporary.clone();
    until(ENDED, "three mounts are there", || mounts_in(&below) == 3);
    until(ENDED, "it says what to try", || {
        output(&stage).contains("sqlite3")
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("our child is there");
    let status = wait_for(&mut child, ENDED, "litefs dev ends after Ctrl-C");
    assert!(status.success(), "{status}: {}", output(&stage));
    assert_nothing_left(&stage, &temporary);
}

#[test]
fn a_given_directory_stays() {
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let temporary = stage.directory().join("temporary");
    let given = stage.directory().join("given");
    let mut child = dev(
        &stage,
        &temporary,
        &[
            "--load",
            "1",
            "--dir",
            given.to_str().expect("our paths are text"),
        ],
    );
    let status = wait_for(&mut child, ENDED, "litefs dev --load 1 ends");
    assert!(status.success(), "{status}: {}", output(&stage));
    assert!(
        fs::read_dir(&given)
            .expect("the directory is there")
            .next()
            .is_some(),
        "with its data"
    );
    assert_eq!(mounts_in(&given), 0);
    assert!(!is_mounted(&given));
    assert_nothing_left(&stage, &temporary);
}

fn mounts_in(directory: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table is readable");
    let below = directory.display().to_string();
    mounts
        .lines()
        .filter(|line| {
            line.split(' ')
                .nth(4)
                .is_some_and(|point| point.starts_with(&below))
        })
        .count()
}
