//! Databases that this node has dropped because its primary had no such database any more, or has deleted as the primary:
//! others may think for a while yet that the cluster has them.

use std::collections::VecDeque;

use ltx::TxId;

use crate::incarnation::Incarnation;
use crate::name::DbName;

/// More are not remembered; the oldest are forgotten.
const MOST: usize = 1000;

/// A database that is not here any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedDatabase {
    /// Its name.
    pub name: DbName,
    /// Which database of that name.
    pub incarnation: Incarnation,
    /// Its last transaction here.
    pub txid: TxId,
}

/// What was dropped, the latest at the end; of each name the last one. In memory only: a process that begins anew has
/// dropped nothing.
#[derive(Debug, Default)]
pub(crate) struct Dropped(VecDeque<DroppedDatabase>);

impl Dropped {
    pub(crate) fn add(&mut self, database: DroppedDatabase) {
        self.0.retain(|one| one.name != database.name);
        self.0.push_back(database);
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// That very database is here again.
    pub(crate) fn is_back(&mut self, name: &DbName, incarnation: Incarnation) {
        self.0
            .retain(|one| one.name != *name || one.incarnation != incarnation);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn list(&self) -> Vec<DroppedDatabase> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(name: &str, incarnation: u64) -> DroppedDatabase {
        DroppedDatabase {
            name: DbName::new(name).unwrap(),
            incarnation: Incarnation::new(incarnation),
            txid: TxId::new(7),
        }
    }

    #[test]
    fn it_is_forgotten_when_it_is_back_and_when_there_are_too_many() {
        let mut dropped = Dropped::default();
        dropped.add(database("a", 1));
        dropped.add(database("b", 1));
        dropped.add(database("a", 2));
        assert_eq!(dropped.list(), [database("b", 1), database("a", 2)]);
        // Another database of that name is not the one that was dropped.
        dropped.is_back(&DbName::new("b").unwrap(), Incarnation::new(2));
        assert_eq!(dropped.list().len(), 2);
        dropped.is_back(&DbName::new("b").unwrap(), Incarnation::new(1));
        assert_eq!(dropped.list(), [database("a", 2)]);
        for number in 0..MOST {
            dropped.add(database(&format!("db{number}"), 1));
        }
        assert_eq!(dropped.list().len(), MOST);
        assert_eq!(dropped.list()[0], database("db0", 1));
        dropped.clear();
        assert!(dropped.list().is_empty());
    }
}
