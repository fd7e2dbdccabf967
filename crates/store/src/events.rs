//! What the store tells those who observe it.

use std::sync::Arc;

use ltx::Pos;

use crate::database::Database;
use crate::incarnation::Incarnation;
use crate::name::DbName;
use crate::role::Role;

/// Something that happened.
#[derive(Clone)]
pub enum Event {
    /// The position of a database moved: a local commit, an applied transaction, an import.
    Committed {
        /// The database.
        db: Arc<Database>,
        /// Its new position.
        pos: Pos,
    },
    /// A database was deleted.
    Dropped {
        /// Its name.
        name: DbName,
        /// Which one of that name.
        incarnation: Incarnation,
    },
    /// This node has another role.
    RoleChanged(Role),
}

/// Somebody who wants to know. Called on a database's thread: it must not block, only pass on.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}
