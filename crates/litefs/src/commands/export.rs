//! `litefs export`: a copy of a database of a running node.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use reqwest::Response;
use sqlite::header::DatabaseHeader;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::api_client::{ApiClient, root_cause};
use crate::cli::Transfer;
use crate::{say, signals};

use super::progress;

/// Receives the database beside its place and moves it there once it is complete and on disk.
pub(crate) async fn run(transfer: Transfer) -> anyhow::Result<()> {
    let start = Instant::now();
    if transfer.path.is_dir() {
        bail!(
            "{} is a directory: name a file in it",
            transfer.path.display()
        );
    }
    tokio::select! {
        outcome = export(&transfer) => outcome?,
        signal = signals::interrupt() => {
            signal?;
            bail!("interrupted: {} is unchanged", transfer.path.display());
        }
    }
    let elapsed = start.elapsed();
    say(&format!(
        "Export of database {:?} in {elapsed:.1?}\n",
        transfer.name
    ));
    Ok(())
}

async fn export(transfer: &Transfer) -> anyhow::Result<()> {
    let api = ApiClient::new(&transfer.url)?;
    let answer = api.export(&transfer.name).await?;
    let partial = Partial::beside(&transfer.path);
    receive(answer, &partial.path).await?;
    publish(partial, &transfer.path).await
}

/// Writes the whole body to `path` and syncs it.
async fn receive(mut answer: Response, path: &Path) -> anyhow::Result<()> {
    let announced = answer.content_length();
    let bar = progress::bytes(announced);
    let mut file = File::create_new(path)
        .await
        .with_context(|| format!("create {}", path.display()))?;
    let mut start = Vec::with_capacity(DatabaseHeader::SIZE);
    let mut received = 0;
    let broke_off = |error| anyhow!("the export broke off: {}", root_cause(&error));
    while let Some(chunk) = answer.chunk().await.map_err(broke_off)? {
        let missing = DatabaseHeader::SIZE - start.len();
        start.extend_from_slice(&chunk[..chunk.len().min(missing)]);
        file.write_all(&chunk)
            .await
            .with_context(|| format!("write {}", path.display()))?;
        received += chunk.len() as u64;
        bar.set_position(received);
    }
    bar.finish_and_clear();
    check_size(&start, received, announced)?;
    file.sync_all()
        .await
        .with_context(|| format!("sync {}", path.display()))
}

/// Compares what came with what was announced, and with what the database says of itself: a LiteFS node
/// announces nothing, and ends a broken export like a complete one.
fn check_size(start: &[u8], received: u64, announced: Option<u64>) -> anyhow::Result<()> {
    if let Some(announced) = announced.filter(|&announced| announced != received) {
        bail!("the export broke off: {received} of {announced} bytes came");
    }
    let header = DatabaseHeader::parse(start).context("the node did not send a SQLite database")?;
    let page_size = u64::from(header.page_size.get());
    let pages = header
        .trusted_page_count()
        .map_or(received / page_size, u64::from);
    if received != pages * page_size {
        bail!(
            "the export broke off: {received} bytes came of a database of {pages} pages of {page_size} bytes"
        );
    }
    Ok(())
}

/// Moves the finished file to its place. What belongs to the database that was there goes first: a -wal or
/// -journal of another database beside the new one would be taken for its own.
async fn publish(partial: Partial, path: &Path) -> anyhow::Result<()> {
    for suffix in ["-journal", "-wal", "-shm"] {
        let stale = with_suffix(path, suffix);
        match fs::remove_file(&stale).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", stale.display()));
            }
            _ => {}
        }
    }
    fs::rename(&partial.path, path)
        .await
        .with_context(|| format!("rename to {}", path.display()))?;
    let directory = directory_of(path);
    let sync = async { File::open(&directory).await?.sync_all().await };
    sync.await
        .with_context(|| format!("sync {}", directory.display()))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file that is not complete; it goes when this does.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(path: &Path) -> Partial {
        Partial {
            path: with_suffix(path, &format!(".tmp-{}", std::process::id())),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename it is no longer there.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pages: u32) -> Vec<u8> {
        let mut bytes = vec![0; DatabaseHeader::SIZE];
        bytes[..16].copy_from_slice(&sqlite::header::MAGIC);
        bytes[16..18].copy_from_slice(&4096u16.to_be_bytes());
        bytes[28..32].copy_from_slice(&pages.to_be_bytes());
        bytes
    }

    #[test]
    fn a_broken_export_is_noticed_with_and_without_an_announced_length() {
        let refused = |received, announced| {
            check_size(&header(3), received, announced)
                .unwrap_err()
                .to_string()
        };
        check_size(&header(3), 3 * 4096, Some(3 * 4096)).unwrap();
        check_size(&header(3), 3 * 4096, None).unwrap();
        assert_eq!(
            refused(8192, Some(12288)),
            "the export broke off: 8192 of 12288 bytes came"
        );
        let expected =
            "the export broke off: 8192 bytes came of a database of 3 pages of 4096 bytes";
        assert_eq!(refused(8192, None), expected);
        // A header that does not know the size: whole pages only.
        check_size(&header(0), 8192, None).unwrap();
        assert!(check_size(&header(0), 8191, None).is_err());
        assert!(check_size(b"<html>", 6, Some(6)).is_err());
    }

    #[test]
    fn the_directory_of_a_bare_name_is_the_working_directory() {
        assert_eq!(directory_of(Path::new("x.db")), Path::new("."));
        assert_eq!(directory_of(Path::new("/a/x.db")), Path::new("/a"));
    }
}
