//! A transaction over several databases (ATTACH) in the rollback modes. Its commit is the UNLINK of the super-journal
//! (`vdbeCommit`): errors of the UNLINKs of the single journals after it are ignored by SQLite. So everything that can
//! fail is done before: each database's part is encoded, and only then are all of them published.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::capture::LatchKind;
use crate::capture::rollback::Staged;
use crate::core::Core;
use crate::database::Database;
use crate::layout::remove_if_exists;
use crate::mount::{Completion, Refusal};
use crate::name::{FileKind, MountName};
use crate::store::Store;

/// Databases at most in one transaction: SQLite's SQLITE_MAX_ATTACHED is at most 125.
const MAX_DATABASES: usize = 128;

/// A super-journal that is about to go.
struct SuperJournal {
    path: PathBuf,
    name: String,
    /// Databases whose part is encoded.
    prepared: Vec<Arc<Database>>,
    done: Completion,
}

impl Store {
    /// UNLINK of a super-journal: captures the transaction in all databases that are part of it, or says no. Without
    /// waiting.
    pub fn remove_super_journal(&self, name: &str, done: Completion) {
        let path = self.data_dir().super_journals().join(name);
        let parts = fs::read(&path).map(|content| self.databases_named(&content));
        match parts {
            Ok(parts) => {
                let journal = SuperJournal {
                    path,
                    name: name.to_owned(),
                    prepared: Vec::new(),
                    done,
                };
                journal.prepare(parts);
            }
            Err(error) => done(Err(error.into())),
        }
    }

    /// The databases of this store whose journals a super-journal names. (Others may be elsewhere.)
    fn databases_named(&self, content: &[u8]) -> Vec<Arc<Database>> {
        let journals = content.split(|&byte| byte == 0).take(MAX_DATABASES);
        let names = journals.filter_map(|path| {
            let file_name = Path::new(std::str::from_utf8(path).ok()?).file_name()?;
            match MountName::parse(file_name.to_str()?) {
                Ok(MountName::File(db, FileKind::Journal)) => Some(db),
                _ => None,
            }
        });
        names.filter_map(|name| self.database(&name)).collect()
    }
}

impl SuperJournal {
    /// One database after the other, each on its strand.
    fn prepare(mut self, mut left: Vec<Arc<Database>>) {
        let Some(db) = left.pop() else {
            let prepared = std::mem::take(&mut self.prepared);
            return self.publish(prepared);
        };
        let strand = db.clone();
        strand.strand.post(move |core| {
            match core.prepare_part(&self.name) {
                Ok(true) => self.prepared.push(db),
                // Not (any more) part of it.
                Ok(false) => {}
                Err(refusal) => return (self.done)(Err(refusal)),
            }
            self.prepare(left);
        });
    }

    fn publish(self, mut left: Vec<Arc<Database>>) {
        let Some(db) = left.pop() else {
            let removed = remove_if_exists(&self.path);
            return (self.done)(removed.map_err(|error| crate::hooks::refusal(&error)));
        };
        db.strand.post(move |core| match core.publish_part() {
            Ok(()) => self.publish(left),
            // What was published of the others is undone when SQLite rolls them back.
            Err(refusal) => (self.done)(Err(refusal)),
        });
    }
}

impl Core {
    /// Encodes what the database's journal, which must name the super-journal, protects. `false` if it does not.
    fn prepare_part(&mut self, super_journal: &str) -> Result<bool, Refusal> {
        if self.shared.is_closed() {
            return Ok(false);
        }
        let prepared = self.read_journal().and_then(|journal| {
            if journal.super_journal.as_deref() != Some(super_journal) {
                return Ok(None);
            }
            let generation = self.dirty_generation();
            let staged = self.staged.take();
            let mut staged = match staged.filter(|staged| staged.generation == generation) {
                Some(staged) => staged,
                None => {
                    let found = self.examine(&journal)?;
                    let change = self.encode_found(found)?;
                    Staged { change, generation }
                }
            };
            if let Some(transaction) = &mut staged.change.transaction {
                transaction.spill()?;
            }
            Ok(Some(staged))
        });
        match prepared {
            Ok(None) => Ok(false),
            Ok(Some(_)) if !self.settled || !self.env().is_primary() => Err(Refusal::Veto),
            Ok(staged) => {
                self.staged = staged;
                Ok(true)
            }
            Err(error) => {
                self.latch(LatchKind::Capture, &Err::<(), _>(error));
                Err(Refusal::CaptureFailed)
            }
        }
    }

    fn publish_part(&mut self) -> Result<(), Refusal> {
        let Some(staged) = self.staged.take() else {
            return Ok(());
        };
        let published = self.publish_change(staged.change);
        self.latch(LatchKind::Capture, &published);
        published.map_err(|_| Refusal::CaptureFailed)
    }
}
