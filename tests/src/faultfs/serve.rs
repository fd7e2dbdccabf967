//! The process of the file system.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use fuser::{Session, SessionACL};
use nix::mount::{MsFlags, mount};

use crate::faultfs::command::{Answer, Command};
use crate::faultfs::filesystem::FaultFilesystem;
use crate::faultfs::state::State;
use crate::mount::{abort, unmount};

/// Requests that are served at the same time.
const THREADS: usize = 4;

/// Mounts a file system that begins with the content of `from` on `point`, and obeys standard input to its end.
///
/// # Errors
/// When it cannot be mounted, or the test speaks nonsense.
pub fn serve(from: &Path, point: &Path) -> anyhow::Result<()> {
    let state = Arc::new(Mutex::new(State::load(from)?));
    let device: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")?
        .into();
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    mount(
        Some("faultfs"),
        point,
        Some("fuse.faultfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .context("mount")?;
    let mut config = fuser::Config::default();
    config.n_threads = Some(THREADS);
    let filesystem = FaultFilesystem(state.clone());
    let session = Session::from_fd(filesystem, device, SessionACL::All, config)?.spawn()?;
    say(&Answer::Ready)?;
    let obeyed = obey(&state);
    abort(point);
    unmount(point);
    // Whoever has files open keeps the session alive; it ends with this process.
    std::mem::forget(session);
    obeyed
}

fn obey(state: &Mutex<State>) -> anyhow::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let command: Command = serde_json::from_str(&line?)?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match command {
            Command::Arm(fault) => {
                state.arm(fault);
                Answer::Ready
            }
            Command::Disarm => {
                let (seen, hits) = state.disarm();
                Answer::Hits(seen, hits)
            }
            Command::Done => Answer::Count(state.done()),
            Command::Describe(at) => Answer::Text(state.describe(at)),
            Command::Image { after, loss, path } => match state.image(after, loss, &path) {
                Ok(()) => Answer::Ready,
                Err(error) => Answer::Failed(error.to_string()),
            },
        };
        drop(state);
        say(&answer)?;
    }
    Ok(())
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, answer)?;
    writeln!(output)?;
    output.flush()?;
    Ok(())
}
