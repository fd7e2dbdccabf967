//! A connection on the primary's mount and one on a plain file, which do the same.

use std::path::Path;
use std::time::{Duration, Instant};

use harness::client::{Access, Session, SqlError};
use harness::within;

use super::operation::Mode;

/// SQLITE_BUSY.
const BUSY: i32 = 5;
/// As long as an application would wait, in milliseconds: the node itself locks a database only for moments.
const PATIENCE: u32 = 10_000;
/// Where the plain file has another error: enough for a moment, and no long wait for locks that come before the error.
const LITTLE_PATIENCE: u32 = 300;

/// How long a statement is tried again before it is said to be busy for good.
const ONCE_MORE: Duration = Duration::from_secs(3);

/// What a statement came to.
pub(super) type Answer = Result<Vec<Vec<String>>, SqlError>;

/// One connection of the plan.
pub(super) struct Pair {
    mount: Session,
    plain: Session,
    patience: Option<u32>,
    /// As SQLite last said it of the main database.
    pub(super) mode: Mode,
    /// Whether it was told to keep its locks.
    pub(super) exclusive: bool,
}

impl Pair {
    pub(super) fn open(tag: &str, mount: &Path, plain: &Path) -> Pair {
        let mut pair = Pair {
            mount: Session::open(tag, mount, Access::Create),
            plain: Session::open(tag, plain, Access::Create),
            patience: None,
            mode: Mode::Delete,
            exclusive: false,
        };
        // Nothing happens meanwhile: what is busy on the plain file remains so.
        pair.plain.rows("PRAGMA busy_timeout = 0");
        pair
    }

    /// Runs one statement on both sides, and returns what both answered.
    #[track_caller]
    pub(super) fn run(&mut self, sql: &str) -> Answer {
        self.run_each(sql, sql)
    }

    /// As [`Pair::run`] where the text differs.
    #[track_caller]
    pub(super) fn run_each(&mut self, mount: &str, plain: &str) -> Answer {
        let expected = self.plain.run(plain);
        let patience = match &expected {
            Ok(_) => PATIENCE,
            Err(error) if error.code == BUSY => 0,
            Err(_) => LITTLE_PATIENCE,
        };
        let answer = self.on_the_mount(mount, patience);
        self.assert_same(plain, &answer, &expected);
        expected
    }

    /// Leaves WAL mode. It may be refused on the mount, for the node is a connection as well; then it is not tried on
    /// the plain file.
    #[track_caller]
    pub(super) fn leave_wal(&mut self, sql: &str) -> Answer {
        let answer = self.on_the_mount(sql, 0);
        if is_busy(&answer) {
            return answer;
        }
        let expected = self.plain.run(sql);
        self.assert_same(sql, &answer, &expected);
        expected
    }

    /// A checkpoint: whether it was done. How many frames there were is not compared, for the node reads the log as
    /// well, and the log is restarted at other times.
    #[track_caller]
    pub(super) fn checkpoint(&mut self, sql: &str) -> Answer {
        let expected = self.plain.run(sql).map(first_column);
        // A checkpoint that did nothing says so without an error.
        let busy = is_busy(&expected) || expected.as_ref().is_ok_and(|rows| rows[0][0] != "0");
        let patience = if busy { 0 } else { PATIENCE };
        let answer = self.on_the_mount(sql, patience).map(first_column);
        self.assert_same(sql, &answer, &expected);
        expected
    }

    fn on_the_mount(&mut self, sql: &str, patience: u32) -> Answer {
        self.set_patience(patience);
        self.mount.run(sql)
    }

    #[track_caller]
    fn assert_same(&mut self, sql: &str, answer: &Answer, expected: &Answer) {
        match (answer, expected) {
            (Ok(here), Ok(there)) => assert_same_rows(here, there, sql),
            (Err(here), Err(there)) if here.code == there.code => {}
            _ => panic!(
                "{sql}\n  on the mount: {}\n  once more: {}\n  on the plain file: {}",
                brief(answer),
                self.once_more(sql),
                brief(expected)
            ),
        }
    }

    /// Whether it was a matter of time: what the mount answers at last, and after how long.
    fn once_more(&mut self, sql: &str) -> String {
        let start = Instant::now();
        let answer = within(ONCE_MORE, || {
            Some(self.mount.run(sql)).filter(|answer| !is_busy(answer))
        });
        match answer {
            Some(answer) => format!("{}, after {:?}", brief(&answer), start.elapsed()),
            None => "still busy".to_owned(),
        }
    }

    fn set_patience(&mut self, milliseconds: u32) {
        if self.patience != Some(milliseconds) {
            self.mount
                .rows(&format!("PRAGMA busy_timeout = {milliseconds}"));
            self.patience = Some(milliseconds);
        }
    }

    pub(super) fn close(self) {
        self.plain.close();
        self.mount.close();
    }

    pub(super) fn kill(self) {
        self.plain.kill();
        self.mount.kill();
    }
}

fn is_busy(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(|error| error.code == BUSY)
}

fn first_column(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.into_iter()
        .map(|row| row.into_iter().take(1).collect())
        .collect()
}

#[track_caller]
fn assert_same_rows(here: &[Vec<String>], there: &[Vec<String>], sql: &str) {
    let differing = here.iter().zip(there).find(|(here, there)| here != there);
    assert!(
        here.len() == there.len() && differing.is_none(),
        "{sql}: {} rows on the mount, {} on the plain file; first difference: {}",
        here.len(),
        there.len(),
        differing.map_or_else(String::new, |(here, there)| format!(
            "{}, {}",
            row(here),
            row(there)
        ))
    );
}

/// An answer for people.
pub(super) fn brief(answer: &Answer) -> String {
    match answer {
        Ok(rows) if rows.len() > 1 => format!("{} rows", rows.len()),
        Ok(rows) => rows.first().map_or("ok".to_owned(), |first| row(first)),
        Err(error) => format!("error {}: {}", error.code, error.text),
    }
}

fn row(values: &[String]) -> String {
    let short = values.iter().map(|value| {
        let start: String = value.chars().take(24).collect();
        format!("{start:?} ({})", value.len())
    });
    short.collect::<Vec<_>>().join(", ")
}
