//! Wake-ups for writes that the mount does not see: inotify on the backing -wal files, and on database files where
//! their writes matter.
//!
//! One event can stand for many writes; a lost event (queue overflow) means: look at every watched database.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use parking_lot::Mutex;

use crate::database::Database;
use crate::timer::Timer;

/// How often a -wal is looked at when no watch can be had for it.
const POLL: Duration = Duration::from_millis(20);

/// Watches files. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<Inner>);

struct Inner {
    inotify: Inotify,
    stop: EventFd,
    watched: Mutex<HashMap<WatchDescriptor, Watched>>,
    timer: Timer,
}

/// What an event is about.
#[derive(Clone)]
struct Watched {
    db: Weak<Database>,
    /// The database file, and not its -wal.
    is_database: bool,
}

/// A file is watched for as long as this lives.
pub(crate) struct Watch {
    watcher: Watcher,
    descriptor: Option<WatchDescriptor>,
    /// Keeps the polling going where there is no watch.
    _polling: Option<Arc<()>>,
}

impl Watcher {
    /// Starts the watching thread.
    pub(crate) fn start(timer: Timer) -> std::io::Result<Watcher> {
        let inner = Arc::new(Inner {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            stop: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            watched: Mutex::default(),
            timer,
        });
        let runner = inner.clone();
        std::thread::Builder::new()
            .name("litefs-watch".into())
            .spawn(move || runner.run())?;
        Ok(Watcher(inner))
    }

    /// Wakes `db` whenever its -wal is written.
    pub(crate) fn watch(&self, path: &Path, db: &Arc<Database>) -> Watch {
        self.add(path, db, false)
    }

    /// Tells `db` whenever its database file is written.
    pub(crate) fn watch_database(&self, path: &Path, db: &Arc<Database>) -> Watch {
        self.add(path, db, true)
    }

    fn add(&self, path: &Path, db: &Arc<Database>, is_database: bool) -> Watch {
        let mut watched = self.0.watched.lock();
        match self.0.inotify.add_watch(path, AddWatchFlags::IN_MODIFY) {
            Ok(descriptor) => {
                let db = Arc::downgrade(db);
                watched.insert(descriptor, Watched { db, is_database });
                Watch {
                    watcher: self.clone(),
                    descriptor: Some(descriptor),
                    _polling: None,
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error,
                    "no inotify watch to be had (fs.inotify.max_user_watches); looking every {POLL:?} instead");
                let polling = Arc::new(());
                let db = Arc::downgrade(db);
                poll_instead(
                    self.0.timer.clone(),
                    Watched { db, is_database },
                    Arc::downgrade(&polling),
                );
                Watch {
                    watcher: self.clone(),
                    descriptor: None,
                    _polling: Some(polling),
                }
            }
        }
    }

    /// Ends the watching thread.
    pub(crate) fn stop(&self) {
        if let Err(error) = self.0.stop.write(1) {
            tracing::error!(%error, "the watching thread does not end");
        }
    }
}

fn poll_instead(timer: Timer, watched: Watched, polling: Weak<()>) {
    timer.clone().after(POLL, move || {
        if polling.strong_count() > 0 && watched.tell() {
            poll_instead(timer, watched, polling);
        }
    });
}

impl Watched {
    /// The file was written. `false` if nobody cares any more.
    fn tell(&self) -> bool {
        let Some(db) = self.db.upgrade() else {
            return false;
        };
        if self.is_database {
            db.written_unseen();
        } else {
            db.wake();
        }
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor {
            self.watcher.0.watched.lock().remove(&descriptor);
            // Gone already if the file was removed.
            let _ = self.watcher.0.inotify.rm_watch(descriptor);
        }
    }
}

impl Inner {
    fn run(&self) {
        loop {
            let mut fds = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for writes to -wal files");
                    return;
                }
                Ok(_) => {}
            }
            if fds[1].revents().is_some_and(|events| !events.is_empty()) {
                return;
            }
            self.pass_on();
        }
    }

    fn pass_on(&self) {
        let Ok(events) = self.inotify.read_events() else {
            return;
        };
        let overflow = events
            .iter()
            .any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW));
        let mut told: Vec<Watched> = Vec::new();
        {
            let watched = self.watched.lock();
            if overflow {
                told.extend(watched.values().cloned());
            } else {
                let mut seen: Vec<WatchDescriptor> = Vec::new();
                for event in events {
                    if !seen.contains(&event.wd) {
                        seen.push(event.wd);
                        told.extend(watched.get(&event.wd).cloned());
                    }
                }
            }
        }
        for watched in told {
            watched.tell();
        }
    }
}
