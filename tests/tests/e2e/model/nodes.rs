//! Nodes that go and come back.

use std::fs;

use super::executor::{World, commit_what_cannot_be_undone};
use super::operation::Way;
use super::reader::Reader;

impl World {
    /// The end: everything ends well.
    pub(super) fn finish(&mut self) {
        self.close_all();
        for reader in self.readers.iter_mut().filter_map(Option::take) {
            reader.close();
        }
        self.start_replica();
        self.cluster.stop();
    }

    fn kill_all(&mut self) {
        for pair in self.connections.iter_mut().filter_map(Option::take) {
            pair.kill();
        }
    }

    pub(super) fn restart_primary(&mut self, way: Way) {
        if way == Way::Stopped {
            self.close_all();
            self.cluster.primary.stop();
        } else {
            for pair in self.connections.iter_mut().flatten() {
                commit_what_cannot_be_undone(pair);
            }
            if way == Way::KilledAfterApplications {
                self.kill_all();
            }
            self.cluster.primary.kill();
            self.kill_all();
        }
        self.cluster.primary.start();
    }

    pub(super) fn stop_replica(&mut self, way: Way) {
        if !self.replica_runs {
            return;
        }
        let readers = self.readers.iter_mut().filter_map(Option::take);
        match way {
            Way::Stopped => {
                readers.for_each(Reader::close);
                self.cluster.replica_mut().stop();
            }
            Way::Killed => {
                let readers: Vec<Reader> = readers.collect();
                self.cluster.replica_mut().kill();
                readers.into_iter().for_each(Reader::kill);
            }
            Way::KilledAfterApplications => {
                readers.for_each(Reader::kill);
                self.cluster.replica_mut().kill();
            }
        }
        self.replica_runs = false;
    }

    pub(super) fn start_replica(&mut self) {
        if !self.replica_runs {
            self.cluster.replica_mut().start();
            self.replica_runs = true;
        }
    }

    /// The replica loses its data and joins as a new one.
    pub(super) fn wipe_replica(&mut self) {
        self.stop_replica(Way::Stopped);
        let data = self.cluster.replica().settings().data.clone();
        fs::remove_dir_all(data).expect("the replica has data");
        self.replicated = [false; 2];
        self.start_replica();
    }
}
