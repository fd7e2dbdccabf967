//! A complaint about a configuration file, with the place drawn under it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter};

/// What is wrong, and where in the text.
#[derive(Debug)]
pub(crate) struct Complaint {
    message: String,
    location: Option<Location>,
}

impl Complaint {
    /// A complaint about the value at `location`.
    pub(crate) fn at(location: Location, message: impl Into<String>) -> Complaint {
        Complaint {
            message: message.into(),
            location: Some(location),
        }
    }

    /// A complaint about something that is not in the text.
    pub(crate) fn missing(message: impl Into<String>) -> Complaint {
        Complaint {
            message: message.into(),
            location: None,
        }
    }

    /// Joins it with the text it is about. `text` is the file's, after the expansion of variables.
    pub(crate) fn in_file(self, path: &Path, text: &str) -> Diagnostic {
        let place = self
            .location
            .filter(|location| location.line() > 0)
            .map(|location| Place {
                line: location.line(),
                column: location.column(),
                width: location.span().len(),
                source: line_of(text, location.line()).replace('\t', " "),
            });
        Diagnostic {
            path: path.to_owned(),
            message: self.message,
            place,
        }
    }
}

fn line_of(text: &str, number: u64) -> &str {
    let index = usize::try_from(number)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
    text.lines().nth(index).unwrap_or_default()
}

impl From<serde_saphyr::Error> for Complaint {
    fn from(error: serde_saphyr::Error) -> Complaint {
        Complaint {
            location: error.location(),
            message: message(&error),
        }
    }
}

/// The error's text without its place; what a user of litefs cannot know is put in the file's own words.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => message(error),
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            format!(
                "unknown key `{field}`; the keys here are {}",
                expected.join(", ")
            )
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is given twice")
        }
        Error::MultipleDocuments { .. } => {
            "a second YAML document begins here; there must be one".to_owned()
        }
        Error::InvalidScalar { ty, .. } => format!("not a valid {ty}"),
        other => DefaultMessageFormatter.format_message(other).into_owned(),
    }
}

/// A complaint about a file: `PATH:LINE:COLUMN: MESSAGE`, the line, and carets under the value.
#[derive(Debug)]
pub(crate) struct Diagnostic {
    path: PathBuf,
    message: String,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    /// From 1.
    line: u64,
    /// From 1, in characters.
    column: u64,
    /// Characters.
    width: u64,
    source: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let Some(place) = &self.place else {
            return write!(f, "{path}: {}", self.message);
        };
        let Place {
            line,
            column,
            source,
            ..
        } = place;
        writeln!(f, "{path}:{line}:{column}: {}", self.message)?;
        let before = usize::try_from(column - 1)
            .unwrap_or(0)
            .min(source.chars().count());
        let room = source.chars().count() - before;
        let width = usize::try_from(place.width)
            .unwrap_or(1)
            .clamp(1, room.max(1));
        let gutter = line.to_string().len();
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {source}")?;
        write!(f, "{:gutter$} | {:before$}{}", "", "", "^".repeat(width))
    }
}

impl std::error::Error for Diagnostic {}
