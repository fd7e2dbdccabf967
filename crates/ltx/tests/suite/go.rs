//! Go's own `ltx` command, and what it says of our files.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use ltx::{Checksum, ChecksumTracking, Compression, Header, TxId, Writer, compact, verify};
use tempfile::TempDir;

use crate::{
    database::Database,
    fixture::{Page, file, increment, page_size, page_sizes, rolling, snapshot, snapshot_file},
};

/// Module that pins the version of the command, shared with the program that wrote the golden files.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gen");

/// The command, built once into the target directory. Without Go one line says so and the tests that need it end,
/// except in CI, where they fail.
pub(crate) fn tool() -> Option<&'static Path> {
    static TOOL: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ci = env::var_os("CI").is_some();
    let tool = TOOL.get_or_init(|| {
        build().inspect_err(|reason| {
            if !ci {
                // Past the test harness, which keeps what a passing test prints to itself.
                let _ = writeln!(
                    io::stderr(),
                    "SKIPPED: nothing is compared with Go's ltx: {reason}"
                );
            }
        })
    });
    match tool {
        Ok(path) => Some(path),
        Err(reason) if ci => panic!("CI needs Go's ltx: {reason}"),
        Err(_) => None,
    }
}

/// Builds the command. `Err` if this machine has no Go or cannot get the module; a failing build is a failing test.
fn build() -> Result<PathBuf, String> {
    let module = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-ltx");
    fs::create_dir_all(&module).unwrap();
    for name in ["go.mod", "go.sum"] {
        fs::copy(Path::new(MODULE).join(name), module.join(name)).unwrap();
    }
    let go = |args: &[&str]| Command::new("go").args(args).current_dir(&module).output();
    let download = go(&["mod", "download"]).map_err(|error| format!("go: {error}"))?;
    if !download.status.success() {
        return Err(format!(
            "go mod download: {}",
            String::from_utf8_lossy(&download.stderr).trim()
        ));
    }
    // Under a name of its own until it is complete, since test processes may run side by side.
    let partial = module.join(format!("ltx.{}", std::process::id()));
    let path = module.join("ltx");
    let build = go(&[
        "build",
        "-o",
        partial.to_str().unwrap(),
        "github.com/superfly/ltx/cmd/ltx",
    ])
    .unwrap();
    assert!(
        build.status.success(),
        "go build: {}",
        String::from_utf8_lossy(&build.stderr)
    );
    fs::rename(partial, &path).unwrap();
    Ok(path)
}

pub(crate) fn run(tool: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    spawn(tool, args).wait_with_output().unwrap()
}

pub(crate) fn spawn(tool: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
    let mut command = Command::new(tool);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Standard output of a run that must succeed.
pub(crate) fn stdout(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(
        output.status.success(),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

pub(crate) fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Files of all kinds with names for them.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for size in page_sizes() {
        for compression in [Compression::Lz4, Compression::None] {
            let pages: Vec<Page> = (1..=12).map(|pgno| Page { pgno, seed: 1 }).collect();
            let post = rolling(&pages, size);
            let some: Vec<Page> = pages
                .iter()
                .step_by(5)
                .map(|page| Page { seed: 2, ..*page })
                .collect();
            let first = file(snapshot(size, 12), &pages, post, compression);
            // The pages that stay, with their old content, and the new ones.
            let mut after: Vec<Page> = pages.clone();
            for page in &some {
                after[page.number().index()] = *page;
            }
            let header = Header {
                wal_offset: 32,
                wal_size: 9,
                wal_salts: (1, 2),
                node_id: 3,
                ..increment(size, 12, post)
            };
            let second = file(header, &some, rolling(&after, size), compression);
            let mut both = Vec::new();
            compact(vec![&first[..], &second[..]], &mut both).unwrap();
            for (kind, bytes) in [
                ("snapshot", first),
                ("increment", second),
                ("compacted", both),
            ] {
                files.push((format!("{kind}-{size}-{compression:?}.ltx"), bytes));
            }
        }
    }
    let size = page_size(4096);
    let dropped = increment(size, 0, Checksum::EMPTY);
    files.push((
        "dropped.ltx".into(),
        file(dropped, &[], Checksum::EMPTY, Compression::Lz4),
    ));
    files.push((
        "empty-snapshot.ltx".into(),
        file(snapshot(size, 0), &[], Checksum::EMPTY, Compression::Lz4),
    ));
    let untouched = increment(size, 9, Checksum::EMPTY);
    files.push((
        "no-pages.ltx".into(),
        file(untouched, &[], Checksum::EMPTY, Compression::Lz4),
    ));
    files.push((
        "many-pages.ltx".into(),
        snapshot_file(page_size(512), 20_000),
    ));
    for header in [snapshot(size, 1), increment(size, 1, Checksum::NONE)] {
        let mut writer =
            Writer::with_tracking(Vec::new(), header, ChecksumTracking::Untracked).unwrap();
        writer.write_page(ltx::Pgno::FIRST, &[3; 4096]).unwrap();
        let bytes = writer.finish(Checksum::NONE).unwrap().0;
        files.push((format!("untracked-{}.ltx", header.min_txid), bytes));
    }
    files
}

#[test]
fn go_verifies_what_we_write() {
    let Some(tool) = tool() else { return };
    let directory = directory();
    let mut paths = Vec::new();
    for (name, bytes) in files() {
        verify(&bytes[..]).unwrap();
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    assert!(paths.len() > 50);
    assert_eq!(
        stdout(run(
            tool,
            [Path::new("verify")]
                .into_iter()
                .chain(paths.iter().map(PathBuf::as_path))
        )),
        "ok"
    );

    // The command does look: with one byte changed it says no.
    let mut bytes = fs::read(&paths[0]).unwrap();
    bytes[20] ^= 1;
    fs::write(&paths[0], bytes).unwrap();
    assert!(!run(tool, [Path::new("verify"), &paths[0]]).status.success());
}

/// The command leaves a file that shrank as long as it was, so here databases only grow.
#[test]
fn go_applies_what_we_write() {
    let Some(tool) = tool() else { return };
    let directory = directory();
    for size in page_sizes() {
        let mut database = Database::empty(size);
        let mut files = Vec::new();
        for (txid, commit) in (1..).zip([6u32, 6, 9, 13]) {
            // All pages that came, as SQLite's growth writes them, and some of the others.
            let from = if txid == 1 {
                1
            } else {
                database.pages.len() as u32 + 1
            };
            let pages: Vec<Page> = (1..=commit)
                .filter(|pgno| *pgno >= from || pgno % 3 == txid % 3)
                .map(|pgno| Page { pgno, seed: txid })
                .collect();
            let pre = if txid == 1 {
                Checksum::NONE
            } else {
                database.checksum()
            };
            database
                .pages
                .resize(commit as usize, vec![0; size.bytes()]);
            for page in &pages {
                database.pages[page.number().index()] = page.content(size);
            }
            let id = TxId::new(txid.into());
            let header = Header {
                min_txid: id,
                max_txid: id,
                pre_apply_checksum: pre,
                ..snapshot(size, commit)
            };
            let path = directory.path().join(format!("{size}-{txid}.ltx"));
            fs::write(
                &path,
                file(header, &pages, database.checksum(), Compression::Lz4),
            )
            .unwrap();
            files.push(path);
        }
        let path = directory.path().join(format!("{size}.db"));
        let args = ["apply".as_ref(), "-db".as_ref(), path.as_os_str()];
        stdout(run(
            tool,
            args.into_iter()
                .chain(files.iter().map(|file| file.as_os_str())),
        ));
        assert!(
            fs::read(&path).unwrap() == database.pages.concat(),
            "page size {size}"
        );
    }
}

#[test]
fn go_checksums_a_database_as_we_do() {
    let Some(tool) = tool() else { return };
    let directory = directory();
    for size in page_sizes() {
        let mut database = Database::empty(size);
        database.pages = (1..=7)
            .map(|pgno| Page { pgno, seed: 4 }.content(size))
            .collect();
        // The field of SQLite's header that the command looks at: the page size.
        let header = &mut database.pages[0];
        header[16..18].copy_from_slice(&u16::try_from(size.get()).unwrap_or(1).to_be_bytes());
        let path = directory.path().join(format!("{size}.db"));
        fs::write(&path, database.pages.concat()).unwrap();
        assert_eq!(
            stdout(run(tool, [Path::new("checksum"), &path])),
            database.checksum().to_string()
        );
    }
}
