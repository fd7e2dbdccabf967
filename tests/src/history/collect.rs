//! What the nodes have at the end.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde_json::Value;

use super::{Content, WriteId};
use crate::node::Node;
use crate::stage::Stage;
use crate::tool::{litefs, sqlite3};

/// What each node exports of `database`, with the writes in it. The nodes must run; they are counted from 0.
///
/// # Panics
/// If a node does not export it, or SQLite cannot read it.
#[track_caller]
pub fn finals(stage: &Stage, nodes: &[Node], database: &str) -> Vec<Content> {
    let of = |(number, node): (u32, &Node)| {
        let bytes = node
            .api()
            .export(database)
            .unwrap_or_else(|refusal| panic!("export of {}: {refusal:?}", node.name()));
        let copy = stage.directory().join(format!("final-{}", node.name()));
        fs::write(&copy, &bytes).expect("the directory of a stage is ours");
        Content {
            node: number,
            digest: digest(&bytes),
            rows: rows(&copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display())),
        }
    };
    (0..).zip(nodes).map(of).collect()
}

/// What each node has put aside of `database` because no other had it, got back by `litefs aside export`. The nodes may
/// run or not; they are counted from 0.
///
/// # Panics
/// If something that was put aside cannot be made a database again.
#[track_caller]
pub fn asides(stage: &Stage, nodes: &[Node], database: &str) -> Vec<Content> {
    let mut contents = Vec::new();
    for (number, node) in (0..).zip(nodes) {
        let data = node.settings().data.display().to_string();
        let ended = litefs(&["aside", "list", "-json", "-data", &data]);
        assert!(ended.status.success(), "{}", ended.output);
        let entries: Vec<Value> = serde_json::from_str(&ended.output).expect("it is JSON");
        let of_it = entries.iter().filter(|entry| entry["database"] == database);
        for entry in of_it.filter(|entry| entry["unreplicated"] == true) {
            let id = entry["id"].as_str().expect("it has an id");
            let name = format!("aside-{}-{id}", node.name());
            let copy = stage.directory().join(name);
            let path = copy.to_str().expect("paths of tests are text");
            let ended = litefs(&["aside", "export", "-data", &data, id, path]);
            assert!(ended.status.success() && copy.is_file(), "{}", ended.output);
            contents.push(Content {
                node: number,
                digest: digest(&fs::read(&copy).expect("it was just written")),
                rows: rows(&copy).unwrap_or_else(|error| panic!("{}: {error}", copy.display())),
            });
            fs::remove_file(&copy).expect("it was just written");
        }
    }
    contents
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The writes in a database file, in the order of their commits.
fn rows(database: &Path) -> Result<Vec<WriteId>, String> {
    let sql = "PRAGMA integrity_check; SELECT node || ' ' || seq FROM history ORDER BY id";
    let text = sqlite3(database, sql)?;
    let mut lines = text.lines();
    if lines.next() != Some("ok") {
        return Err(text);
    }
    let parse = |line: &str| {
        let (node, seq) = line.split_once(' ')?;
        Some(WriteId {
            node: node.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    };
    lines
        .map(|line| parse(line).ok_or_else(|| format!("no write: {line}")))
        .collect()
}
