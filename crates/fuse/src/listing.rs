//! The directory, as LiteFS lists it.

use store::{FileKind, Store};

use crate::synthetic;

/// Names in the order in which they are shown: `.lag`, `.primary`, then for each database the file, its position and
/// the companions that exist. `X-lock` is never listed.
pub(crate) fn names(store: &Store) -> Vec<String> {
    let mut names = vec![".lag".to_owned()];
    if synthetic::primary(store).is_some() {
        names.push(".primary".to_owned());
    }
    for db in store.all_databases() {
        let dir = store.data_dir().database(db.name());
        let exists = |kind: FileKind| dir.file(kind).exists();
        if exists(FileKind::Database) {
            names.push(db.name().to_string());
            if !db.pos().txid.is_zero() {
                names.push(format!("{}-pos", db.name()));
            }
        }
        for kind in [FileKind::Journal, FileKind::Shm, FileKind::Wal] {
            if exists(kind) {
                names.push(db.name().file(kind));
            }
        }
    }
    names.extend(super_journals(store));
    names
}

fn super_journals(store: &Store) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(store.data_dir().super_journals()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
