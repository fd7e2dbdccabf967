//! What litefs says, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

/// The crates of this workspace, as targets of log lines.
const OURS: [&str; 6] = [
    "litefs",
    "store",
    "fuse",
    "replication",
    "http_api",
    "lease",
];

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verbosity {
    /// `log.debug` or `-debug`.
    pub(crate) debug: bool,
    /// `fuse.debug` or `-fuse.debug`: every FUSE request.
    pub(crate) fuse: bool,
    /// `-tracing`: everything.
    pub(crate) trace: bool,
}

/// Sets up the log of this process. It must be called once.
pub(crate) fn init(log: &Log, verbosity: Verbosity) {
    let filter = EnvFilter::new(directives(verbosity));
    let builder = fmt::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal();
    match (log.format, log.timestamp) {
        (LogFormat::Text, true) => builder.with_ansi(colours).init(),
        (LogFormat::Text, false) => builder.with_ansi(colours).without_time().init(),
        (LogFormat::Json, true) => builder.json().flatten_event(true).init(),
        (LogFormat::Json, false) => builder.json().flatten_event(true).without_time().init(),
    }
}

/// Levels by target: warnings of other people's crates, and as much of ours as is asked for.
fn directives(verbosity: Verbosity) -> String {
    let level = match verbosity {
        Verbosity { trace: true, .. } => "trace",
        Verbosity { debug: true, .. } => "debug",
        _ => "info",
    };
    let mut directives = vec!["warn".to_owned()];
    directives.extend(OURS.map(|target| format!("{target}={level}")));
    if verbosity.fuse && !verbosity.trace {
        directives.push("fuse=trace".to_owned());
    }
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_as_much_as_is_asked_for() {
        let quiet = Verbosity {
            debug: false,
            fuse: false,
            trace: false,
        };
        let expected =
            "warn,litefs=info,store=info,fuse=info,replication=info,http_api=info,lease=info";
        assert_eq!(directives(quiet), expected);
        let debug = directives(Verbosity {
            debug: true,
            ..quiet
        });
        assert_eq!(debug, expected.replace("info", "debug"));
        assert_eq!(
            directives(Verbosity {
                debug: true,
                trace: true,
                fuse: true
            }),
            expected.replace("info", "trace")
        );
        assert_eq!(
            directives(Verbosity {
                fuse: true,
                ..quiet
            }),
            format!("{expected},fuse=trace")
        );
    }
}
