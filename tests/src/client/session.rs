//! A connection that a test holds open and gives statements to.

use std::io::{BufRead, Write};
use std::path::Path;

use rusqlite::{Batch, Connection, fallible_iterator::FallibleIterator, types::ValueRef};
use serde::{Deserialize, Serialize};

use crate::client::open::{Access, open};
use crate::client::peer::Peer;

/// What SQLite said to a statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlError {
    /// The result code, without the extended part.
    pub code: i32,
    /// Its text, as an application shows it.
    pub text: String,
}

/// How a line begins that is no SQL.
const FILE_CONTROL: &str = "file control";

type Answer = Result<Vec<Vec<String>>, SqlError>;

/// A connection in another process.
#[derive(Debug)]
pub struct Session(Peer);

impl Session {
    /// Opens `database`. `tag` is that of the stage.
    pub fn open(tag: &str, database: &Path, access: Access) -> Session {
        Session(Peer::start(tag, "session", database, &[access.word()]))
    }

    /// Runs statements; the rows of the last one that has any, as text.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> Answer {
        self.begin(sql);
        self.finish()
    }

    /// Starts statements without waiting for them.
    #[track_caller]
    pub fn begin(&mut self, sql: &str) {
        self.0
            .send(&serde_json::to_string(sql).expect("a text is JSON"));
    }

    /// Waits for the statements that were started.
    #[track_caller]
    pub fn finish(&mut self) -> Answer {
        serde_json::from_str(&self.0.receive()).expect("the client answers in JSON")
    }

    /// Runs statements that must succeed.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.run(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The first value of the first row of statements that must succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        let row = self.rows(sql).into_iter().next();
        row.and_then(|row| row.into_iter().next())
            .unwrap_or_else(|| panic!("{sql}: no row"))
    }

    /// Sets `operation` (a number of SQLite's `SQLITE_FCNTL_…`) of the main database's file to `value`.
    #[track_caller]
    pub fn file_control(&mut self, operation: i32, value: i32) {
        self.rows(&format!("{FILE_CONTROL} {operation} {value}"));
    }

    /// Runs statements that must fail.
    #[track_caller]
    pub fn error(&mut self, sql: &str) -> SqlError {
        self.run(sql).expect_err(sql)
    }

    /// Closes the connection as a well-behaved application does, and waits for the end of its process.
    pub fn close(mut self) {
        self.0.close();
        self.0.wait();
    }

    /// Ends the process without closing the connection.
    pub fn kill(mut self) {
        self.0.kill();
    }
}

/// The client's side.
///
/// # Errors
/// When the database cannot be opened or the test has gone.
pub fn run_session(database: &Path, access: Option<&str>) -> anyhow::Result<()> {
    let access = Access::from_word(access)?;
    let mut connection: Option<Connection> = None;
    for line in std::io::stdin().lock().lines() {
        let sql: String = serde_json::from_str(&line?)?;
        let answer = answer(&mut connection, database, access, &sql);
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

/// The database is opened with the first statement, so that a failure to open is an answer as well.
fn answer(
    connection: &mut Option<Connection>,
    database: &Path,
    access: Access,
    sql: &str,
) -> Answer {
    if connection.is_none() {
        *connection = Some(open(database, access).map_err(sql_error)?);
    }
    let connection = connection.as_ref().expect("opened above");
    if let Some(arguments) = sql.strip_prefix(FILE_CONTROL) {
        return file_control(connection, arguments).map_err(sql_error);
    }
    rows(connection, sql).map_err(sql_error)
}

fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<String>>> {
    let mut last = Vec::new();
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let rows = statement.query([])?;
        let rows: Vec<Vec<String>> = rows
            .map(|row| (0..columns).map(|at| Ok(text(row.get_ref(at)?))).collect())
            .collect()?;
        if columns > 0 {
            last = rows;
        }
    }
    Ok(last)
}

fn file_control(connection: &Connection, arguments: &str) -> rusqlite::Result<Vec<Vec<String>>> {
    let mut numbers = arguments.split_whitespace().map(|word| word.parse::<i32>());
    let (Some(Ok(operation)), Some(Ok(mut value))) = (numbers.next(), numbers.next()) else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    // SAFETY: the handle is that of an open connection; no name means its main database; these operations take a
    // pointer to an int, which lives until the call returns.
    let code = unsafe {
        rusqlite::ffi::sqlite3_file_control(
            connection.handle(),
            std::ptr::null(),
            operation,
            (&raw mut value).cast(),
        )
    };
    match code {
        rusqlite::ffi::SQLITE_OK => Ok(Vec::new()),
        code => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            None,
        )),
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn sql_error(error: rusqlite::Error) -> SqlError {
    let code = error
        .sqlite_error()
        .map_or(-1, |failure| failure.extended_code & 0xff);
    SqlError {
        code,
        text: error.to_string(),
    }
}
