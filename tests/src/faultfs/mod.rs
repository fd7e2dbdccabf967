//! A file system for the data directory of a node: it fails what it is told to fail, and remembers what was done, so
//! that the disk of a machine that died at any moment can be made afterwards.
//!
//! It is a process of its own with everything in memory. It sees what the daemon does, and what the kernel does for
//! applications in passthrough mode. One run with it gives an image for every moment of the run: no run per moment.

mod command;
mod filesystem;
mod image;
mod operation;
mod serve;
mod state;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use crate::binary::faultfs_binary;
use crate::client::Peer;
use crate::faultfs::command::{Answer, Command};
use crate::mount::{abort, unmount};
use crate::stage::Stage;

pub use command::{Fault, Hit, Loss};
pub use operation::Kind;
pub use serve::serve;

/// A mounted file system. Dropping it takes it away, so drop its node first.
#[derive(Debug)]
pub struct FaultFs {
    point: PathBuf,
    peer: Peer,
}

impl FaultFs {
    /// Mounts one on `point`, which is made; what is there already is in it.
    #[track_caller]
    pub fn mount(stage: &Stage, point: &Path) -> FaultFs {
        fs::create_dir_all(point).expect("the directory of a stage is ours");
        let mut process = Process::new(faultfs_binary());
        process.arg(point).arg(point);
        let mut peer = Peer::spawn(stage.tag(), process);
        let answer = peer.receive();
        assert!(answer.contains("Ready"), "{answer}");
        FaultFs {
            point: point.to_owned(),
            peer,
        }
    }

    /// Makes requests fail, instead of those that were to fail before.
    #[track_caller]
    pub fn arm(&mut self, fault: Fault) {
        self.ask(Command::Arm(fault));
    }

    /// Nothing fails any more: how many requests the fault was about, and which failed.
    #[track_caller]
    pub fn disarm(&mut self) -> (u64, Vec<Hit>) {
        match self.ask(Command::Disarm) {
            Answer::Hits(seen, hits) => (seen, hits),
            other => panic!("{other:?}"),
        }
    }

    /// How many operations were done so far.
    #[track_caller]
    pub fn done(&mut self) -> usize {
        match self.ask(Command::Done) {
            Answer::Count(done) => done,
            other => panic!("{other:?}"),
        }
    }

    /// Kind and path of operation number `at`.
    #[track_caller]
    pub fn describe(&mut self, at: usize) -> String {
        match self.ask(Command::Describe(at)) {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Writes what is on the disk of a machine that died after `after` operations into the new directory `path`.
    #[track_caller]
    pub fn image(&mut self, after: usize, loss: Loss, path: &Path) {
        let path = path.to_owned();
        self.ask(Command::Image { after, loss, path });
    }

    #[track_caller]
    fn ask(&mut self, command: Command) -> Answer {
        self.peer
            .send(&serde_json::to_string(&command).expect("a command is JSON"));
        let answer = serde_json::from_str(&self.peer.receive()).expect("the answer is JSON");
        if let Answer::Failed(error) = &answer {
            panic!("the file system cannot: {error}");
        }
        answer
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        abort(&self.point);
        unmount(&self.point);
    }
}
