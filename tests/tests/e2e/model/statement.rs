//! The SQL of the operations. Nothing in it is random: two databases get the same content.

use super::operation::{Action, Rows};

/// The tables of a database, and what finds a page that belongs to two of them.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS t0(id INTEGER PRIMARY KEY, note TEXT, x);
    CREATE INDEX IF NOT EXISTS t0_note ON t0(note);
    CREATE TABLE IF NOT EXISTS t1(id INTEGER PRIMARY KEY, note TEXT, x)";

/// Everything that the tables of `schema` hold.
pub(super) fn read(schema: &str) -> String {
    format!(
        "SELECT 0, id, note, x FROM {schema}.t0 UNION ALL SELECT 1, id, note, x FROM {schema}.t1 ORDER BY 1, 2"
    )
}

/// What is the same on any machine: the text of actions that are nothing but one statement.
pub(super) fn of(action: &Action) -> Option<String> {
    let text = match action {
        Action::Begin(kind) => format!("BEGIN {kind}"),
        Action::Commit => "COMMIT".to_owned(),
        Action::Rollback => "ROLLBACK".to_owned(),
        Action::Savepoint(number) => format!("SAVEPOINT s{number}"),
        Action::Release(number) => format!("RELEASE s{number}"),
        Action::RollbackTo(number) => format!("ROLLBACK TO s{number}"),
        Action::Insert(rows) => insert(rows),
        Action::Update(rows) => update(rows),
        Action::Delete(rows) => format!("DELETE FROM {} WHERE {}", table(rows), range(rows)),
        Action::Empty(rows) => format!("DELETE FROM {}", table(rows)),
        Action::Read => read("main"),
        Action::CreateTable => {
            "CREATE TABLE IF NOT EXISTS main.t1(id INTEGER PRIMARY KEY, note TEXT, x)".to_owned()
        }
        Action::DropTable => "DROP TABLE IF EXISTS main.t1".to_owned(),
        Action::Set(name, value) => format!("PRAGMA main.{name} = {value}"),
        Action::JournalMode(mode) => format!("PRAGMA main.journal_mode = {}", mode.word()),
        Action::Exclusive(true) => "PRAGMA main.locking_mode = exclusive".to_owned(),
        Action::Exclusive(false) => "PRAGMA main.locking_mode = normal".to_owned(),
        Action::Checkpoint(kind) => format!("PRAGMA main.wal_checkpoint({kind})"),
        Action::Vacuum => "VACUUM main".to_owned(),
        Action::IncrementalVacuum(pages) => format!("PRAGMA main.incremental_vacuum({pages})"),
        Action::Detach => "DETACH other".to_owned(),
        Action::Attach | Action::Close | Action::Kill => return None,
    };
    Some(text)
}

fn table(rows: &Rows) -> String {
    let schema = if rows.other { "other" } else { "main" };
    format!("{schema}.t{}", rows.table)
}

fn range(rows: &Rows) -> String {
    format!("id BETWEEN {} AND {}", rows.from, last(rows))
}

fn last(rows: &Rows) -> u32 {
    rows.from + rows.count.max(1) - 1
}

/// A value of about the right length, which differs from every other in each of its pages.
fn value(id: &str, rows: &Rows) -> String {
    let Rows { length, salt, .. } = rows;
    format!(
        "replace(printf('%.*c', {length} / 8, 'x'), 'x', printf('%08x', ({id} * 2654435761 + {salt}) & 4294967295))"
    )
}

fn insert(rows: &Rows) -> String {
    format!(
        "INSERT OR REPLACE INTO {} WITH RECURSIVE n(i) AS (SELECT {} UNION ALL SELECT i + 1 FROM n WHERE i < {})
         SELECT i, printf('%d of %d', i, {}), {} FROM n",
        table(rows),
        rows.from,
        last(rows),
        rows.salt,
        value("i", rows)
    )
}

fn update(rows: &Rows) -> String {
    format!(
        "UPDATE {} SET note = printf('%d of %d', id, {}), x = {} WHERE {}",
        table(rows),
        rows.salt,
        value("id", rows),
        range(rows)
    )
}
