//! SQLite as other people's programs have it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Output};

use crate::binary::litefs_binary;
use crate::process::{Ended, TAG};

/// How long the tools wait for a lock, in milliseconds.
const BUSY_TIMEOUT_MS: u32 = 60_000;

/// Runs SQLite's command line program on `database`: what it prints, or what it says is wrong.
pub fn sqlite3(database: &Path, sql: &str) -> Result<String, String> {
    let mut command = Command::new("sqlite3");
    command
        .arg("-batch")
        .arg("-bail")
        .args(["-cmd", &format!(".timeout {BUSY_TIMEOUT_MS}")])
        .arg(database)
        .arg(sql);
    outcome(command.output().expect("sqlite3 runs"))
}

/// Starts a Python program as an application of the stage with this tag.
pub fn python(tag: &str, program: &str, arguments: &[&OsStr]) -> Child {
    let mut command = Command::new("python3");
    command.arg("-c").arg(program).args(arguments);
    command.env(TAG, tag).spawn().expect("python3 runs")
}

/// Runs the `litefs` program to its end.
pub fn litefs(arguments: &[&str]) -> Ended {
    let output = Command::new(litefs_binary())
        .args(arguments)
        .output()
        .expect("the litefs program runs");
    let text = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status,
        output: String::from_utf8_lossy(&text).into_owned(),
    }
}

fn outcome(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}
