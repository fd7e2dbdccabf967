//! The JSON of `litefs aside list` and `show`.

use serde::Serialize;
use store::aside::{Entry, LtxContents};

use super::utc::rfc3339;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson<'a> {
    id: &'a str,
    database: Option<&'a str>,
    reason: &'a str,
    unreplicated: bool,
    /// RFC 3339.
    time: Option<String>,
    /// 16 hexadecimal digits, as everywhere.
    min_txid: Option<String>,
    max_txid: Option<String>,
    /// Bytes.
    size: u64,
    path: String,
    files: Vec<FileJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ltx: Option<Vec<LtxJson>>,
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    size: u64,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct LtxJson {
    path: String,
    size: u64,
    /// Why the rest is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    details: Option<DetailsJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailsJson {
    min_txid: String,
    max_txid: String,
    /// `<TXID>/<checksum>`, as `X-pos` has it.
    pre_position: String,
    post_position: String,
    time: String,
    node_id: String,
    page_size: u32,
    /// Of the database afterwards.
    page_count: u32,
    snapshot: bool,
    /// First and last number of each run.
    pages: Vec<(u32, u32)>,
}

/// All entries, as an array.
pub(super) fn list(entries: &[Entry]) -> String {
    let entries: Vec<EntryJson<'_>> = entries.iter().map(|entry| of(entry, None)).collect();
    print(&entries)
}

/// One entry, with its LTX files.
pub(super) fn show(entry: &Entry, ltx: &[LtxContents]) -> String {
    print(&of(entry, Some(ltx.iter().map(ltx_of).collect())))
}

fn print(value: &impl Serialize) -> String {
    // Only strings and numbers: there is nothing that could not be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn of(entry: &Entry, ltx: Option<Vec<LtxJson>>) -> EntryJson<'_> {
    let files = entry.files.iter().map(|file| FileJson {
        path: file.path.display().to_string(),
        size: file.size,
    });
    EntryJson {
        id: &entry.id,
        database: entry.database.as_ref().map(|db| db.as_str()),
        reason: &entry.reason,
        unreplicated: entry.is_unreplicated(),
        time: entry.time_ms.map(rfc3339),
        min_txid: entry.txids().map(|(min, _)| min.to_string()),
        max_txid: entry.txids().map(|(_, max)| max.to_string()),
        size: entry.size(),
        path: entry.path.display().to_string(),
        files: files.collect(),
        ltx,
    }
}

fn ltx_of(ltx: &LtxContents) -> LtxJson {
    let details = ltx.details.as_ref();
    LtxJson {
        path: ltx.path.display().to_string(),
        size: ltx.size,
        error: details.err().map(|error| error.chain()),
        details: details.ok().map(|details| DetailsJson {
            min_txid: details.min_txid.to_string(),
            max_txid: details.post_pos.txid.to_string(),
            pre_position: details.pre_pos.to_string(),
            post_position: details.post_pos.to_string(),
            time: rfc3339(details.timestamp_ms),
            node_id: format!("{:016x}", details.node_id),
            page_size: details.page_size.get(),
            page_count: details.page_count,
            snapshot: details.is_snapshot,
            pages: details.pages.clone(),
        }),
    }
}
