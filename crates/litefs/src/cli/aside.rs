//! The arguments of `litefs aside`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::{Refusal, flags};

const USAGE: &str = "\
litefs aside shows what a node has put aside instead of deleting it, and gets it back: databases that were deleted,
histories that were replaced by that of the primary, transactions that were never replicated, damaged copies.

Usage:

    litefs aside COMMAND [FLAGS]

Commands:

    list      what was put aside, the oldest first
    show      one entry: its LTX files, and the other files in it
    export    get an entry back, as a SQLite database if that is possible

They read the data directory of this machine, whether the node runs or not, and change nothing in it.
`litefs aside COMMAND -h` shows a command's flags. For instance:

    litefs aside list -config /etc/litefs.yml
    litefs aside show 3fa9c1d2
    litefs aside export 3fa9c1d2 ./lost.db
";

/// What is to be done with what was put aside.
#[derive(Debug)]
pub(crate) enum Aside {
    /// `litefs aside list`.
    List(ListArgs),
    /// `litefs aside show`.
    Show(ShowArgs),
    /// `litefs aside export`.
    Export(ExportArgs),
}

/// Which data directory.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory [default: data.dir of the configuration].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Read this configuration file and no other; only for its data.dir.
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    pub(crate) config: Option<PathBuf>,

    /// Take the configuration as it is: expand no environment variables in it.
    #[arg(long)]
    pub(crate) no_expand_env: bool,
}

/// Lists what was put aside, the oldest first.
///
/// Per entry: its id, the database, why it was put aside, when, its TXIDs and its size. Entries that are
/// `unreplicated` may be nowhere else: they stay until somebody removes their directory.
#[derive(Debug, Parser)]
#[command(
    name = "litefs aside list",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) place: Place,

    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shows one entry: for each LTX file its TXIDs, when it was captured, on which node, and the pages in it.
#[derive(Debug, Parser)]
#[command(
    name = "litefs aside show",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) place: Place,

    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// The entry, as `litefs aside list` names it. Its first digits will do.
    pub(crate) id: String,
}

/// Writes an entry to PATH, which must not exist.
///
/// A copy of a database becomes one SQLite database file; its -wal or -journal is played back. LTX files are applied
/// to the database as it was before them, if that can be had: from a snapshot in the entry, from the log in the data
/// directory, or from the present database if that gives the checksum that the lost transactions ended with. If no
/// database can be made, PATH becomes a directory with the files of the entry.
///
/// To look at it: sqlite3 PATH. To make it the content of the cluster: litefs import -name NAME PATH.
#[derive(Debug, Parser)]
#[command(
    name = "litefs aside export",
    no_binary_name = true,
    args_override_self = true
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) place: Place,

    /// The entry, as `litefs aside list` names it. Its first digits will do.
    pub(crate) id: String,

    /// What to write.
    pub(crate) path: PathBuf,
}

/// Reads the arguments after `aside`.
pub(super) fn parse(args: Vec<OsString>) -> Result<Aside, Refusal> {
    let mut args = args.into_iter();
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match command.to_string_lossy().as_ref() {
        "list" => flags::parse(rest, 1).map(Aside::List),
        "show" => flags::parse(rest, 1).map(Aside::Show),
        "export" => flags::parse(rest, 1).map(Aside::Export),
        "" | "help" => Err(Refusal::Usage(USAGE.to_owned())),
        flag if flag.starts_with('-') => Err(Refusal::Usage(USAGE.to_owned())),
        unknown => Err(Refusal::wrong(
            format!("litefs aside {unknown}: unknown command"),
            1,
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(line: &str) -> Result<Aside, Refusal> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn each_command_takes_its_flags_with_one_dash_or_two() {
        let Ok(Aside::List(list)) = parsed("list -data /d -json") else {
            panic!()
        };
        assert_eq!(list.place.data.as_deref(), Some(Path::new("/d")));
        assert!(list.json && list.place.config.is_none());
        let Ok(Aside::Show(show)) = parsed("show --config=/c abc") else {
            panic!()
        };
        assert_eq!((show.id.as_str(), show.json), ("abc", false));
        assert_eq!(show.place.config.as_deref(), Some(Path::new("/c")));
        let Ok(Aside::Export(export)) = parsed("export abc ./x.db -no-expand-env") else {
            panic!()
        };
        assert_eq!(
            (export.id.as_str(), export.path.as_path()),
            ("abc", Path::new("./x.db"))
        );
        assert!(export.place.no_expand_env);
    }

    #[test]
    fn what_is_wrong_is_refused_and_usage_is_shown() {
        for line in ["", "-h", "help", "list -h", "show --help", "export -h"] {
            match parsed(line) {
                Err(Refusal::Usage(text)) => assert!(text.contains("Usage"), "{line:?}: {text}"),
                other => panic!("{line:?}: {other:?}"),
            }
        }
        for line in [
            "nosuch",
            "show",
            "export abc",
            "list x",
            "list -data /d -config /c",
        ] {
            match parsed(line) {
                Err(Refusal::Wrong { status: 1, .. }) => {}
                other => panic!("{line:?}: {other:?}"),
            }
        }
    }
}
