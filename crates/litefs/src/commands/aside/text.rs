//! What `litefs aside list` and `show` print for people.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use store::aside::{Entry, LtxContents, LtxDetails};

use super::utc::rfc3339;

/// How many runs of page numbers are shown; `--json` has all.
const RUNS: usize = 20;

/// All entries, as a table.
pub(super) fn list(entries: &[Entry]) -> String {
    let header = ["ID", "DATABASE", "WHY", "TIME", "TXIDS", "SIZE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header)
        .chain(entries.iter().map(row))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let widths = rows.iter().map(|row| row[column].chars().count());
            let width = widths.max().unwrap_or_default();
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let lost = entries
        .iter()
        .filter(|entry| entry.is_unreplicated())
        .count();
    if lost > 0 {
        let _ = writeln!(
            text,
            "\nunreplicated: may be nowhere else ({lost}); `litefs aside export ID PATH` gets it back"
        );
    }
    text
}

fn row(entry: &Entry) -> [String; 6] {
    [
        entry.id.clone(),
        database(entry),
        entry.reason.clone(),
        time(entry),
        txids(entry),
        HumanBytes(entry.size()).to_string(),
    ]
}

fn database(entry: &Entry) -> String {
    entry
        .database
        .as_ref()
        .map_or("?".into(), |db| db.to_string())
}

fn time(entry: &Entry) -> String {
    entry.time_ms.map_or("?".into(), rfc3339)
}

fn txids(entry: &Entry) -> String {
    entry
        .txids()
        .map_or("-".into(), |(min, max)| format!("{min}-{max}"))
}

/// One entry.
pub(super) fn show(entry: &Entry, ltx: &[LtxContents]) -> String {
    let mut text = format!(
        "{}  {}\n  directory  {}\n  why        {}\n  time       {}\n  txids      {}\n  size       {}\n",
        entry.id,
        database(entry),
        entry.path.display(),
        why(entry),
        time(entry),
        txids(entry),
        HumanBytes(entry.size()),
    );
    if !ltx.is_empty() {
        text.push_str("\nLTX files:\n");
    }
    for ltx in ltx {
        let _ = writeln!(text, "  {}  {}", ltx.path.display(), HumanBytes(ltx.size));
        match &ltx.details {
            Ok(details) => text.push_str(&describe(details)),
            Err(error) => {
                let _ = writeln!(text, "    cannot be read: {}", error.chain());
            }
        }
    }
    let mut others = entry
        .files
        .iter()
        .filter(|file| file.txids().is_none())
        .peekable();
    if others.peek().is_some() {
        text.push_str("\nOther files:\n");
    }
    for file in others {
        let _ = writeln!(text, "  {}  {}", file.path.display(), HumanBytes(file.size));
    }
    text
}

fn why(entry: &Entry) -> String {
    let meaning = match entry.reason.as_str() {
        "deleted" => "an application deleted the database",
        "dropped" => "the primary does not have the database any more",
        "replaced" => "the primary has another database of that name",
        "orphaned" => "its database was missing at a start",
        "broken" => "it was no whole database at a start, and was made one again from the log",
        "unreplicated" => "committed here, and on no other node; another history took over",
        _ => return entry.reason.clone(),
    };
    format!("{}: {meaning}", entry.reason)
}

fn describe(details: &LtxDetails) -> String {
    let kind = if details.is_snapshot {
        ", a snapshot"
    } else {
        ""
    };
    format!(
        "    txids      {}-{}{kind}\n    captured   {} on node {:016x}\n    position   {} before, {} after\n    \
         pages      {} of {} bytes, in a database of {}: {}\n",
        details.min_txid,
        details.post_pos.txid,
        rfc3339(details.timestamp_ms),
        details.node_id,
        details.pre_pos,
        details.post_pos,
        details
            .pages
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum::<u64>(),
        details.page_size,
        details.page_count,
        page_numbers(&details.pages),
    )
}

fn page_numbers(runs: &[(u32, u32)]) -> String {
    let mut words: Vec<String> = runs
        .iter()
        .take(RUNS)
        .map(|&(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    if runs.len() > RUNS {
        words.push("…".into());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_numbers_are_short() {
        assert_eq!(page_numbers(&[(1, 3), (7, 7)]), "1-3, 7");
        let many: Vec<(u32, u32)> = (0..100).map(|n| (n * 2, n * 2)).collect();
        assert!(page_numbers(&many).ends_with("38, …"));
    }
}
