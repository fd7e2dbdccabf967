//! Flags as Go's flag package takes them, given to clap.

use std::ffi::{OsStr, OsString};

use clap::{Command, Parser};

use super::{Refusal, refusal};

/// Parses the arguments of one command; `status` is the exit status if they are wrong.
pub(super) fn parse<A: Parser>(args: Vec<OsString>, status: u8) -> Result<A, Refusal> {
    let command = A::command();
    A::try_parse_from(from_go(args, &command)).map_err(|error| refusal(error, &command, status))
}

/// Rewrites flags, up to a `--`: `-name` and `-name=value` get their second dash, `-switch=true` becomes
/// `--switch`, and `-switch=false` goes. What is no flag of `command` is left for clap to refuse.
fn from_go(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut rewritten = Vec::new();
    for arg in args.by_ref() {
        let last = arg == "--";
        rewritten.extend(rewrite(arg, command));
        if last {
            break;
        }
    }
    rewritten.extend(args);
    rewritten
}

fn rewrite(arg: OsString, command: &Command) -> Option<OsString> {
    let Some(flag) = arg
        .to_str()
        .and_then(|arg| arg.strip_prefix("--").or(arg.strip_prefix('-')))
    else {
        return Some(arg);
    };
    let (name, value) = flag
        .split_once('=')
        .map_or((flag, None), |(name, value)| (name, Some(value)));
    if name.len() < 2 {
        return Some(arg);
    }
    let known = command
        .get_arguments()
        .find(|known| known.get_long() == Some(name));
    let is_switch = known.is_some_and(|known| !known.get_action().takes_values());
    match value.and_then(go_bool).filter(|_| is_switch) {
        Some(true) => Some(long(name)),
        Some(false) => None,
        None => Some(long(flag)),
    }
}

fn long(flag: &str) -> OsString {
    let mut long = OsString::from("--");
    long.push(OsStr::new(flag));
    long
}

/// A boolean as Go's flag package writes it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn flags_get_their_second_dash_and_nothing_else_changes() {
        let switch = Arg::new("fuse.debug")
            .long("fuse.debug")
            .action(ArgAction::SetTrue);
        let command = Command::new("c")
            .arg(Arg::new("config").long("config"))
            .arg(switch);
        for (line, expected) in [
            ("-config x", "--config x"),
            ("--config x", "--config x"),
            ("-config=-x", "--config=-x"),
            ("-config=true", "--config=true"),
            ("-fuse.debug", "--fuse.debug"),
            ("-fuse.debug=T", "--fuse.debug"),
            ("--fuse.debug=1", "--fuse.debug"),
            ("-fuse.debug=false -config x", "--config x"),
            ("-fuse.debug=maybe", "--fuse.debug=maybe"),
            ("-help", "--help"),
            ("-fuse", "--fuse"),
            ("-configs=1", "--configs=1"),
            ("-h", "-h"),
            ("config", "config"),
            ("- -", "- -"),
            ("-config x -- -config", "--config x -- -config"),
        ] {
            let args = line.split(' ').map(OsString::from).collect();
            assert_eq!(from_go(args, &command).join(OsStr::new(" ")), expected);
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        assert_eq!(go_bool("T"), Some(true));
        assert_eq!(go_bool("0"), Some(false));
        assert_eq!(go_bool("yes"), None);
    }
}
