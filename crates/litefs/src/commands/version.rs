//! `litefs version`.

/// The version that this program was built as; `None` for a build from a working copy.
const VERSION: Option<&str> = option_env!("LITEFS_VERSION");
/// The commit that it was built from.
const COMMIT: Option<&str> = option_env!("LITEFS_COMMIT");

/// One line, as LiteFS prints it.
pub(crate) fn line() -> String {
    match (VERSION, COMMIT) {
        (Some(version), Some(commit)) => format!("LiteFS {version}, commit={commit}"),
        (Some(version), None) => format!("LiteFS {version}"),
        (None, Some(commit)) => format!("LiteFS commit={commit}"),
        (None, None) => "LiteFS development build".to_owned(),
    }
}

/// The version alone, for what other nodes and `/info` are told.
pub(crate) fn number() -> &'static str {
    VERSION.unwrap_or(env!("CARGO_PKG_VERSION"))
}
