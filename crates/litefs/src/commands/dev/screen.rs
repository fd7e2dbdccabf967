//! The status on a terminal, drawn again in place; elsewhere one line per change.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::say;

const CLEAR_BELOW: &str = "\x1b[J";
/// A line longer than the terminal is cut, so that lines can be counted.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// A line of the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As it is shown.
    pub(super) text: String,
    /// What it is about: a node and a database.
    pub(super) subject: String,
    /// The part that makes a difference. Rates and lags alone are no change.
    pub(super) state: String,
}

/// Standard output, shared by the status and by what is printed above it.
#[derive(Debug, Clone)]
pub(super) struct Screen(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    terminal: bool,
    lines: Vec<Line>,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let terminal = std::io::stdout().is_terminal();
        Screen(Arc::new(Mutex::new(Shown {
            terminal,
            lines: Vec::new(),
        })))
    }

    /// Shows the status. The first line is a heading.
    pub(super) fn show(&mut self, lines: &[Line]) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = if shown.terminal {
            redraw(&shown.lines, lines)
        } else {
            changes(&shown.lines, lines)
        };
        say(&text);
        shown.lines = lines.to_vec();
    }

    /// Prints text above the status.
    pub(super) fn print(&self, text: &str) {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.terminal {
            say(&format!(
                "{}{text}\n{}",
                up(shown.lines.len()),
                redraw(&[], &shown.lines)
            ));
        } else {
            say(text);
        }
    }
}

/// Moves over the lines that are shown and clears them.
fn up(lines: usize) -> String {
    if lines == 0 {
        String::new()
    } else {
        format!("\x1b[{lines}A\r{CLEAR_BELOW}")
    }
}

fn redraw(old: &[Line], new: &[Line]) -> String {
    let mut text = up(old.len()) + NO_WRAP;
    for line in new {
        text.push_str(&line.text);
        text.push('\n');
    }
    text + WRAP
}

/// The lines whose state is another than it was.
fn changes(old: &[Line], new: &[Line]) -> String {
    let is_new = |line: &&Line| {
        !old.iter()
            .any(|old| old.subject == line.subject && old.state == line.state)
    };
    new.iter()
        .filter(is_new)
        .map(|line| format!("{}\n", line.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &str, state: &str, text: &str) -> Line {
        Line {
            text: text.to_owned(),
            subject: subject.to_owned(),
            state: state.to_owned(),
        }
    }

    #[test]
    fn a_terminal_is_drawn_again_in_place() {
        let lines = [line("a", "1", "A"), line("b", "1", "B")];
        assert_eq!(redraw(&[], &lines), "\x1b[?7lA\nB\n\x1b[?7h");
        assert_eq!(
            redraw(&lines, &lines[..1]),
            "\x1b[2A\r\x1b[J\x1b[?7lA\n\x1b[?7h"
        );
    }

    #[test]
    fn elsewhere_only_changes_are_printed() {
        let old = [line("a", "1", "A 5/s"), line("b", "1", "B")];
        let new = [
            line("a", "1", "A 6/s"),
            line("b", "2", "B2"),
            line("c", "1", "C"),
        ];
        assert_eq!(changes(&[], &old), "A 5/s\nB\n");
        assert_eq!(changes(&old, &new), "B2\nC\n");
        assert_eq!(changes(&old, &old), "");
    }
}
