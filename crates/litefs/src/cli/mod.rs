//! The command line: LiteFS's commands and flags, and ours.
//!
//! Flags may have one dash or two and may give their value after `=` or as the next argument, as with Go's flag
//! package. No command at all, `help`, or a command's `-h` shows how to use it and ends with status 2.

mod args;
mod aside;
mod flags;

use std::ffi::OsString;

use clap::error::ErrorKind;

pub(crate) use args::{
    DevArgs, HandoffArgs, LOAD_READER, LOAD_WRITER, LoadArgs, MountArgs, PromoteArgs, Transfer,
    UpgradeArgs,
};
use args::{ExportArgs, ImportArgs};
pub(crate) use aside::{Aside, Place};

/// What the user asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// With the arguments as they are, for the process that is to take them.
    Mount(Vec<OsString>),
    Import(Transfer),
    Export(Transfer),
    Promote(PromoteArgs),
    Handoff(HandoffArgs),
    Aside(Aside),
    Upgrade(UpgradeArgs),
    Dev(DevArgs),
    LoadWriter(LoadArgs),
    LoadReader(LoadArgs),
    /// What `mount` starts: on the descriptor of the guard.
    Worker(i32, MountArgs),
    /// The process that watches over the guard of a mount.
    Watcher,
    Version,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The user asked how to use it, or gave nothing to go by: to be shown on standard output, status 2.
    Usage(String),
    /// The arguments are wrong.
    Wrong {
        /// One sentence.
        message: String,
        /// Exit status.
        status: u8,
    },
}

impl Refusal {
    fn wrong(message: impl Into<String>, status: u8) -> Refusal {
        Refusal::Wrong {
            message: message.into(),
            status,
        }
    }
}

const USAGE: &str = "\
litefs keeps copies of SQLite databases on several machines, live. Applications open their databases in a mounted
directory; what they commit on the primary is on every replica a moment later.

Usage:

    litefs COMMAND [FLAGS]

Commands:

    mount      run a node: mount its directory, replicate the databases in it
    import     put a SQLite database into a running cluster
    export     get a copy of a database from a running node
    promote    make a node the primary
    handoff    have the primary hand over to another node
    aside      see and get back what a node has put aside instead of deleting it
    upgrade    have a running node go on with a new version of this program
    dev        try it out: a primary and a replica on this machine
    version    print the version

`litefs COMMAND -h` shows a command's flags. A first look:

    litefs dev                              two nodes in a temporary directory, until Ctrl-C
    litefs mount -config /etc/litefs.yml    one node, as its configuration says
    litefs import -name app.db ./app.db     into the node at http://localhost:20202
    litefs export -name app.db ./copy.db    from the node at http://localhost:20202
";

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Refusal> {
    let mut args = args.into_iter();
    let command = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let command = command.to_string_lossy();
    match command.as_ref() {
        "" | "help" => Err(Refusal::Usage(USAGE.to_owned())),
        flag if flag.starts_with('-') => Err(Refusal::Usage(USAGE.to_owned())),
        // LiteFS ends `mount` with 2 and the other commands with 1 when their flags are wrong.
        "mount" => flags::parse(args.clone(), 2)
            .and_then(MountArgs::checked)
            .map(|_| Invocation::Mount(args)),
        "import" => flags::parse(args, 1)
            .and_then(ImportArgs::checked)
            .map(Invocation::Import),
        "export" => flags::parse(args, 1)
            .and_then(ExportArgs::checked)
            .map(Invocation::Export),
        "promote" => flags::parse(args, 1).map(Invocation::Promote),
        "handoff" => flags::parse(args, 1).map(Invocation::Handoff),
        "aside" => aside::parse(args).map(Invocation::Aside),
        "upgrade" => flags::parse(args, 1).map(Invocation::Upgrade),
        "dev" => flags::parse(args, 2).map(Invocation::Dev),
        LOAD_WRITER => flags::parse(args, 2).map(Invocation::LoadWriter),
        LOAD_READER => flags::parse(args, 2).map(Invocation::LoadReader),
        crate::guard::WATCHER => Ok(Invocation::Watcher),
        crate::guard::WORKER => worker(args),
        "version" => Ok(Invocation::Version),
        "run" => Err(Refusal::wrong(
            "litefs run: not supported yet by this build",
            1,
        )),
        unknown => Err(Refusal::wrong(
            format!("litefs {unknown}: unknown command"),
            1,
        )),
    }
}

/// The descriptor of the guard, then the arguments of `mount`.
fn worker(mut args: Vec<OsString>) -> Result<Invocation, Refusal> {
    let descriptor = args.first().and_then(|first| first.to_str()?.parse().ok());
    let Some(descriptor) = descriptor else {
        return Err(Refusal::wrong("to be run by `litefs mount` only", 1));
    };
    args.remove(0);
    flags::parse(args, 2)
        .and_then(MountArgs::checked)
        .map(|args| Invocation::Worker(descriptor, args))
}

/// What clap refuses, in one line.
fn refusal(error: clap::Error, command: &clap::Command, status: u8) -> Refusal {
    match error.kind() {
        ErrorKind::DisplayHelp => Refusal::Usage(error.render().to_string()),
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let what = first.strip_prefix("error: ").unwrap_or(first);
            Refusal::wrong(
                format!("{what}; `{} -h` shows its flags", command.get_name()),
                status,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(line: &str) -> Result<Invocation, Refusal> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[track_caller]
    fn mount(line: &str) -> MountArgs {
        match (
            parsed(line),
            parsed(&line.replacen("mount ", "mount-worker 3 ", 1)),
        ) {
            (Ok(Invocation::Mount(raw)), Ok(Invocation::Worker(3, args))) => {
                assert_eq!(raw.len(), line.split_whitespace().count() - 1);
                args
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(line: &str) -> (String, u8) {
        match parsed(line) {
            Err(Refusal::Wrong { message, status }) => (message, status),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mount_takes_the_flags_of_litefs_with_one_dash_or_two() {
        for line in [
            "mount -config /c -debug -fuse.debug",
            "mount --config=/c --debug --fuse.debug=true",
        ] {
            let args = mount(line);
            assert_eq!(args.config.as_deref(), Some(Path::new("/c")));
            assert!(
                args.debug
                    && args.fuse_debug
                    && !args.tracing
                    && !args.no_expand_env
                    && !args.skip_unmount
            );
        }
        let args = mount("mount -tracing -no-expand-env -skip-unmount -debug=false");
        assert!(
            args.tracing
                && args.no_expand_env
                && args.skip_unmount
                && !args.debug
                && args.config.is_none()
        );
    }

    #[test]
    fn mount_refuses_what_it_does_not_know_with_status_2() {
        let (message, status) = refused("mount -nosuch");
        assert_eq!(
            message,
            "unexpected argument '--nosuch' found; `litefs mount -h` shows its flags"
        );
        assert_eq!(status, 2);
        let (message, status) = refused("mount /litefs");
        assert_eq!(
            (message.as_str(), status),
            (
                "too many arguments, specify a '--' to specify an exec command",
                2
            )
        );
        let (message, status) = refused("mount -config /c -- sleep 1");
        assert!(
            message.starts_with("a command after '--' is not supported yet"),
            "{message}"
        );
        assert_eq!(status, 2);
    }

    #[test]
    fn import_and_export_have_the_defaults_of_litefs() {
        let Ok(Invocation::Import(args)) = parsed("import -name app.db ./x.db") else {
            panic!()
        };
        assert_eq!(
            (args.url.as_str(), args.name.as_str()),
            ("http://localhost:20202", "app.db")
        );
        assert_eq!(args.path, Path::new("./x.db"));
        let Ok(Invocation::Import(args)) = parsed("import -url http://a:1/ dir/x.db") else {
            panic!()
        };
        assert_eq!(
            (args.url.as_str(), args.name.as_str()),
            ("http://a:1", "x.db")
        );
        let Ok(Invocation::Export(args)) = parsed("export ./x.db -name=app.db") else {
            panic!()
        };
        assert_eq!(
            (args.url.as_str(), args.name.as_str()),
            ("http://localhost:20202", "app.db")
        );
        assert_eq!(refused("import a b"), ("too many arguments".to_owned(), 1));
        assert_eq!(
            refused("export -name a b c"),
            ("too many arguments".to_owned(), 1)
        );
        assert_eq!(
            refused("export ./x.db"),
            (
                "database name required: litefs export -name NAME PATH".to_owned(),
                1
            )
        );
        let expected = "invalid value 'ftp://a' for '--url <URL>': it must begin with http://; `litefs export -h` \
                        shows its flags";
        assert_eq!(
            refused("export -url ftp://a -name a b"),
            (expected.to_owned(), 1)
        );
    }

    #[test]
    fn usage_is_shown_where_litefs_shows_it() {
        for line in [
            "",
            "help",
            "-h",
            "--version",
            "mount -h",
            "mount --help",
            "import",
            "export",
            "export -h",
            "dev -h",
            "upgrade -h",
        ] {
            match parsed(line) {
                Err(Refusal::Usage(text)) => assert!(text.contains("Usage"), "{line:?}: {text}"),
                other => panic!("{line:?}: {other:?}"),
            }
        }
        assert_eq!(
            refused("nosuch"),
            ("litefs nosuch: unknown command".to_owned(), 1)
        );
        assert_eq!(
            refused("run -- x"),
            ("litefs run: not supported yet by this build".to_owned(), 1)
        );
    }

    #[test]
    fn load_of_dev_may_come_with_or_without_seconds() {
        let dev = |line: &str| match parsed(line) {
            Ok(Invocation::Dev(args)) => (args.nodes, args.load, args.keep, args.dir),
            other => panic!("{other:?}"),
        };
        assert_eq!(dev("dev"), (2, None, false, None));
        assert_eq!(dev("dev --load"), (2, Some(10), false, None));
        assert_eq!(dev("dev -load 3 -nodes 3 -keep"), (3, Some(3), true, None));
        assert_eq!(
            dev("dev --load --dir /x"),
            (2, Some(10), false, Some("/x".into()))
        );
        assert_eq!(refused("dev --nodes 0").1, 2);
    }
}
