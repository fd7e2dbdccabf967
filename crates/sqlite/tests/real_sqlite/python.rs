//! SQLite connections in a process of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Reads one command a line, answers one line. Connections are in autocommit mode and never wait for a lock.
const PROGRAM: &str = r#"
import resource, signal, sqlite3, sys
connections = {}

def watch(connection, target):
    reads = 0
    while True:
        low, high = connection.execute("select min(v), max(v) from t").fetchone()
        assert low == high, f"torn snapshot: {low} and {high}"
        reads += 1
        if low >= int(target):
            return reads

def run(operation, name, argument):
    if operation == "open":
        connections[name] = sqlite3.connect(argument, isolation_level=None, uri=True, timeout=0)
    elif operation == "close":
        connections.pop(name).close()
    elif operation == "watch":
        return str(watch(connections[name], argument))
    elif operation == "die":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(argument), int(argument)))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    else:
        rows = connections[name].execute(argument).fetchall()
        return "|".join(",".join(map(str, row)) for row in rows)
    return ""

for line in sys.stdin:
    try:
        print("ok", run(*line.rstrip("\n").split("\t")), sep="\t", flush=True)
    except Exception as error:
        print("error", error, sep="\t", flush=True)
"#;

/// A process with any number of named connections. Dropped, it is killed: transactions stay as they are.
pub(crate) struct Sqlite {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sqlite {
    pub(crate) fn start() -> Sqlite {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Sqlite {
            child,
            commands,
            answers,
        }
    }

    /// A process with one connection.
    pub(crate) fn connected(name: &str, database: &Path) -> Sqlite {
        let mut sqlite = Sqlite::start();
        sqlite.open(name, database, "");
        sqlite
    }

    /// Opens a connection; `query` holds URI parameters, as in `psow=0`.
    pub(crate) fn open(&mut self, name: &str, database: &Path, query: &str) {
        self.ask(
            "open",
            name,
            &format!("file:{}?{query}", database.display()),
        )
        .unwrap();
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.ask("close", name, "").unwrap();
    }

    /// Runs one statement; the columns of a row are joined by commas, rows by bars.
    pub(crate) fn sql(&mut self, name: &str, statement: &str) -> String {
        self.ask("sql", name, statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// Sends SIGXFSZ to the process, with its default effect of killing it, when it writes behind that offset.
    pub(crate) fn die_when_writing_behind(&mut self, offset: u64) {
        self.ask("die", "", &offset.to_string()).unwrap();
    }

    /// Runs a statement that the process does not survive.
    pub(crate) fn last_statement(mut self, name: &str, statement: &str) {
        let answer = self.ask("sql", name, statement);
        assert_eq!(answer, Err("no answer".into()), "{statement}");
    }

    /// Lets a connection read table `t` over and over until its column `v` has that value; each time all rows
    /// must have the same. To be followed by [`watched`](Self::watched).
    pub(crate) fn watch(&mut self, name: &str, until: u32) {
        self.send("watch", name, &until.to_string());
    }

    /// The number of reads that the watch made.
    pub(crate) fn watched(&mut self) -> u32 {
        self.answer().unwrap().parse().unwrap()
    }

    fn ask(&mut self, operation: &str, name: &str, argument: &str) -> Result<String, String> {
        self.send(operation, name, argument);
        self.answer()
    }

    fn send(&mut self, operation: &str, name: &str, argument: &str) {
        writeln!(self.commands, "{operation}\t{name}\t{argument}").unwrap();
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        match line.trim_end_matches('\n').split_once('\t') {
            Some(("ok", result)) => Ok(result.into()),
            Some((_, error)) => Err(error.into()),
            None => Err("no answer".into()),
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A statement that inserts `rows` rows of about `size` bytes into `t (v, data)`.
pub(crate) fn insert(rows: u32, size: u32) -> String {
    format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) \
         insert into t select 0, randomblob({size}) from n"
    )
}

/// The path of a companion file of a database.
pub(crate) fn companion(database: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
