//! `litefs aside`: what a node has put aside instead of deleting it.

mod json;
mod text;
mod utc;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use store::DataDir;
use store::aside::{Base, Entry, Exported, contents, export, list};

use crate::cli::{Aside, Place};
use crate::config::Config;
use crate::say;

/// Runs one of its commands.
pub(crate) fn run(aside: Aside) -> anyhow::Result<()> {
    match aside {
        Aside::List(args) => {
            let data = data_directory(&args.place)?;
            let entries = list(&data)?;
            say(&if args.json {
                json::list(&entries)
            } else if entries.is_empty() {
                format!("nothing was put aside in {}\n", data.aside().display())
            } else {
                text::list(&entries)
            });
        }
        Aside::Show(args) => {
            let entry = find(&data_directory(&args.place)?, &args.id)?;
            let ltx = contents(&entry);
            say(&if args.json {
                json::show(&entry, &ltx)
            } else {
                text::show(&entry, &ltx)
            });
        }
        Aside::Export(args) => {
            let data = data_directory(&args.place)?;
            let entry = find(&data, &args.id)?;
            let exported = export(&data, &entry, &args.path)?;
            say(&report(&exported, &args.path));
        }
    }
    Ok(())
}

fn data_directory(place: &Place) -> anyhow::Result<DataDir> {
    let path = match &place.data {
        Some(path) => path.clone(),
        None => {
            let config = place
                .config
                .as_ref()
                .filter(|path| !path.as_os_str().is_empty());
            let (config, _) = Config::load(config.map(PathBuf::as_path), !place.no_expand_env)?;
            config.data.dir
        }
    };
    let meta =
        std::fs::metadata(&path).with_context(|| format!("data directory {}", path.display()))?;
    if !meta.is_dir() {
        bail!("data directory {}: is not a directory", path.display());
    }
    Ok(DataDir::new(path))
}

/// The one entry that is called so.
fn find(data: &DataDir, id: &str) -> anyhow::Result<Entry> {
    let mut entries = list(data)?;
    entries.retain(|entry| entry.is_called(id));
    match entries.len() {
        1 => Ok(entries.remove(0)),
        0 => bail!(
            "nothing with the id {id:?} was put aside in {}",
            data.aside().display()
        ),
        _ => {
            let names: Vec<String> = entries.iter().map(Entry::name).collect();
            bail!("{id:?} may be any of {}", names.join(", "))
        }
    }
}

fn report(exported: &Exported, path: &std::path::Path) -> String {
    let path = path.display();
    match exported {
        Exported::Files { reason, count } => {
            let files = if *count == 1 { "file" } else { "files" };
            format!("{reason}: copied {count} {files} as they are into the directory {path}\n")
        }
        Exported::Database { base, pos } => {
            let from = match base {
                Base::Copy => "the copy that was put aside",
                Base::Damaged => "a copy that was damaged when it was put aside: check it",
                Base::Own => "the transactions in the entry, from their snapshot on",
                Base::Log => "the transactions in the entry on top of the log",
                Base::Present => {
                    "the transactions in the entry on top of the database as it is; the checksum of the result is right"
                }
            };
            let at = pos.map(|pos| format!(", at {pos}")).unwrap_or_default();
            format!("Wrote database {path}{at}, made of {from}\n")
        }
    }
}
